import { writeFileSync } from 'node:fs';
import type { ApiAccess } from './raw-api.ts';

/**
 * Writes a kubeconfig with one cluster, user and context, everything inline, readable by its owner only (0600).
 * JSON, which is YAML too: kubectl, client-go and every other reader take it.
 */
export function writeKubeconfig(path: string, access: ApiAccess, namespace = 'default'): void {
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: 'local',
        cluster: { server: access.server, 'certificate-authority-data': toBase64(access.caPem) },
      },
    ],
    users: [
      {
        name: 'user',
        user: {
          ...(access.certificatePem === undefined
            ? {}
            : { 'client-certificate-data': toBase64(access.certificatePem) }),
          ...(access.keyPem === undefined ? {} : { 'client-key-data': toBase64(access.keyPem) }),
          ...(access.token === undefined ? {} : { token: access.token }),
        },
      },
    ],
    contexts: [{ name: 'local', context: { cluster: 'local', user: 'user', namespace } }],
    'current-context': 'local',
  };
  writeFileSync(path, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
}

function toBase64(pem: string): string {
  return Buffer.from(pem).toString('base64');
}
