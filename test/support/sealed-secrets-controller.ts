/** The real sealed-secrets controller beside a local control plane, to compare with. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Component } from '../../hack/cluster/component.ts';
import type { ControlPlane } from '../../hack/cluster/control-plane.ts';
import type { JsonObject } from '../../operator/api/objects.ts';
import { toolPath } from './tool-path.ts';

const ACCOUNT = 'sealed-secrets-controller';

/**
 * The controller reads its configuration from the folder that the kubelet would mount, and from nowhere else. It gets
 * that folder in a mount namespace of its own, so that nothing on this machine changes.
 */
const IN_A_POD = `
mount -t tmpfs tmpfs /run
mkdir -p /run/secrets/kubernetes.io/serviceaccount
cp "$1"/* /run/secrets/kubernetes.io/serviceaccount/
shift
exec "$@"
`;

/**
 * Starts the controller for one namespace, where its keys are too, with every right and without its client's limiter.
 * `directory` takes its log and its credentials.
 */
export async function startSealedSecretsController(o: {
  controlPlane: ControlPlane;
  namespace: string;
  directory: string;
  flags?: readonly string[];
}): Promise<Component> {
  const { controlPlane, namespace, directory } = o;
  const { api } = controlPlane;
  await api.create(`/api/v1/namespaces/${namespace}/serviceaccounts`, {
    ...{ apiVersion: 'v1', kind: 'ServiceAccount' },
    metadata: { name: ACCOUNT, namespace },
  });
  const binding: JsonObject = {
    ...{ apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRoleBinding' },
    metadata: { name: `${ACCOUNT}-${namespace}` },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
    subjects: [{ kind: 'ServiceAccount', name: ACCOUNT, namespace }],
  };
  await api.create('/apis/rbac.authorization.k8s.io/v1/clusterrolebindings', binding);
  const folder = join(directory, 'serviceaccount');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'token'), await controlPlane.serviceAccountToken({ namespace, name: ACCOUNT }));
  writeFileSync(join(folder, 'ca.crt'), controlPlane.caPem);
  writeFileSync(join(folder, 'namespace'), namespace);
  const server = new URL(controlPlane.server);
  const controller = await toolPath('sealed-secrets-controller');
  return await Component.start({
    name: 'sealed-secrets controller',
    command: 'unshare',
    args: [
      ...['--map-root-user', '--mount', 'sh', '-ec', IN_A_POD, 'sh', folder, controller],
      ...['--all-namespaces=false', '--kubeclient-qps=-1', '--key-renew-period=0'],
      ...['--listen-addr=127.0.0.1:0', '--listen-metrics-addr=127.0.0.1:0'],
      ...(o.flags ?? []),
    ],
    env: {
      PATH: process.env.PATH ?? '',
      KUBERNETES_SERVICE_HOST: server.hostname,
      KUBERNETES_SERVICE_PORT: server.port,
      POD_NAMESPACE: namespace,
    },
    logFile: join(directory, 'sealed-secrets-controller.log'),
  });
}
