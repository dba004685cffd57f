/** Sealing keys and SealedSecrets for tests. */

import { generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import type { LogFields, Logger } from '../../operator/api/logger.ts';
import type { SealedSecret, SealedSecretSpec } from '../../operator/api/sealed-secret.gen.ts';
import { createCertificate } from '../../operator/sealing/certificate.ts';
import { encrypt } from '../../operator/sealing/hybrid.ts';
import { keySecret, readKeySecret, type SealingKey } from '../../operator/sealing/key-secret.ts';
import { PrivateKeyLanes } from '../../operator/sealing/private-key.ts';
import { labelOf, type ScopedMeta } from '../../operator/sealing/scope.ts';
import { TemplateEngine } from '../../operator/sealing/template-engine.ts';
import { toolPath } from './tool-path.ts';

const generateKeyPairAsync = promisify(generateKeyPair);

/** A new RSA private key; 2048 bits are enough for everything but measurements. */
export async function newPrivateKey(modulusLength = 2048): Promise<KeyObject> {
  return (await generateKeyPairAsync('rsa', { modulusLength })).privateKey;
}

/** A new sealing key as the key ring would load it, with a certificate that starts at `notBefore`. */
export async function newSealingKey(
  o: { name?: string; notBefore?: Date; modulusLength?: number; lanes?: PrivateKeyLanes } = {},
): Promise<SealingKey & { secret: ReturnType<typeof keySecret>; privateKeyObject: KeyObject }> {
  const privateKey = await newPrivateKey(o.modulusLength);
  const certificatePem = await createCertificate({
    privateKey,
    commonName: '',
    validForMs: 3_600_000,
    now: o.notBefore ?? new Date(),
  });
  const secret = keySecret({
    namespace: 'keys',
    name: o.name ?? 'sealed-secrets-keytest1',
    privateKey,
    certificatePem,
  });
  const { key, problems } = readKeySecret(secret, o.lanes ?? new PrivateKeyLanes());
  if (key === undefined || problems.length > 0) throw new Error(`unusable test key: ${problems.join()}`);
  return { ...key, secret, privateKeyObject: privateKey };
}

/** A SealedSecret as the API server would store it, its values sealed for `publicKey` in its own scope. */
export function sealedSecret(o: {
  publicKey: KeyObject;
  values: Record<string, string | Buffer>;
  metadata?: ScopedMeta;
  spec?: Partial<SealedSecretSpec>;
}): SealedSecret {
  const metadata = { name: 'db', namespace: 'shop', ...o.metadata };
  const label = labelOf(metadata);
  const encryptedData = Object.fromEntries(
    Object.entries(o.values).map(([item, value]) => [
      item,
      encrypt(o.publicKey, Buffer.from(value), label).toString('base64'),
    ]),
  );
  return {
    apiVersion: 'bitnami.com/v1alpha1',
    kind: 'SealedSecret',
    metadata: { uid: 'f6a5d7b0-uid', resourceVersion: '1', generation: 1, ...metadata },
    spec: { encryptedData, ...o.spec },
  };
}

/** What unsealing needs for SealedSecrets without templates; one with a template fails the test. */
export const WITHOUT_TEMPLATES = {
  templates: { render: () => Promise.reject(new Error('a template was rendered')) },
  acceptDeprecatedV1Data: true,
};

/** The real template engine, built first when needed. Close it. */
export async function startTemplateEngine(
  options: { size?: number; timeLimitMs?: number; memoryLimitMb?: number } = {},
): Promise<TemplateEngine> {
  return new TemplateEngine({ binary: await toolPath('template-engine'), ...options });
}

/** A logger whose lines can be looked at: level, message and fields as one JSON text a line. */
export function recordingLogger(): { logger: Logger; lines: string[] } {
  const lines: string[] = [];
  const write = (level: string) => (message: string, fields?: LogFields) => {
    lines.push(`${level} ${message} ${JSON.stringify(fields ?? {})}`);
  };
  const logger: Logger = {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    child: () => logger,
  };
  return { logger, lines };
}
