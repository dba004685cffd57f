/** The operator in the place of the Bitnami controller: its service account, its rights, its Service. */

import { networkInterfaces } from 'node:os';
import type { ControlPlane } from '../../hack/cluster/control-plane.ts';
import type { JsonObject } from '../../operator/api/objects.ts';
import { type OperatorProcess, type OperatorProcessOptions, startOperator } from './operator-process.ts';

const NAMESPACE = 'kube-system';
const NAME = 'sealed-secrets-controller';
const CORE = `/api/v1/namespaces/${NAMESPACE}`;
const RBAC = '/apis/rbac.authorization.k8s.io/v1';
const API_GROUP = 'rbac.authorization.k8s.io';

/** What the manifest of sealed-secrets 0.40.0 grants its controller in the whole cluster, and nothing else. */
const UNSEALER_RULES = [
  { apiGroups: ['bitnami.com'], resources: ['sealedsecrets'], verbs: ['get', 'list', 'watch'] },
  { apiGroups: ['bitnami.com'], resources: ['sealedsecrets/status'], verbs: ['update'] },
  {
    apiGroups: [''],
    resources: ['secrets'],
    verbs: ['get', 'list', 'create', 'update', 'delete', 'watch'],
  },
  { apiGroups: [''], resources: ['events'], verbs: ['create', 'patch'] },
  { apiGroups: [''], resources: ['namespaces'], verbs: ['get'] },
];
const KEY_ADMIN_RULES = [{ apiGroups: [''], resources: ['secrets'], verbs: ['create', 'list'] }];
const PROXIER_RULES = [
  { apiGroups: [''], resources: ['services'], resourceNames: [NAME], verbs: ['get'] },
  {
    apiGroups: [''],
    resources: ['services/proxy'],
    resourceNames: [`http:${NAME}:`, `http:${NAME}:http`, NAME],
    verbs: ['create', 'get'],
  },
];

/** A kubeconfig with the rights of the controller as shipped. */
export async function installRights(controlPlane: ControlPlane): Promise<string> {
  const { api } = controlPlane;
  await api.create(`${CORE}/serviceaccounts`, object('v1', 'ServiceAccount', NAME));
  const subjects = [{ kind: 'ServiceAccount', name: NAME, namespace: NAMESPACE }];
  const bind = async (kind: 'ClusterRole' | 'Role', name: string, rules: object[], to: object[]) => {
    const scope = kind === 'ClusterRole' ? RBAC : `${RBAC}/namespaces/${NAMESPACE}`;
    const version = `${API_GROUP}/v1`;
    const roleRef = { apiGroup: API_GROUP, kind, name };
    await api.create(`${scope}/${kind.toLowerCase()}s`, {
      ...object(version, kind, name),
      rules,
    } as JsonObject);
    const binding = { ...object(version, `${kind}Binding`, name), roleRef, subjects: to };
    await api.create(`${scope}/${kind.toLowerCase()}bindings`, binding as JsonObject);
  };
  await bind('ClusterRole', 'secrets-unsealer', UNSEALER_RULES, subjects);
  await bind('Role', 'sealed-secrets-key-admin', KEY_ADMIN_RULES, subjects);
  await bind('Role', 'sealed-secrets-service-proxier', PROXIER_RULES, [
    { apiGroup: API_GROUP, kind: 'Group', name: 'system:authenticated' },
  ]);
  const token = await controlPlane.serviceAccountToken({ namespace: NAMESPACE, name: NAME });
  return controlPlane.kubeconfigForToken(token);
}

/** Starts the operator where the API server's service proxy reaches it. */
export async function startBehindService(
  controlPlane: ControlPlane,
  options: Omit<OperatorProcessOptions, 'namespace' | 'sealedSecretsHost'>,
): Promise<OperatorProcess> {
  const host = externalAddress();
  const operator = await startOperator({ ...options, namespace: NAMESPACE, sealedSecretsHost: host });
  await exposeAs(controlPlane, host, Number(new URL(operator.sealedSecretsUrl).port));
  return operator;
}

/**
 * A Service whose one endpoint is an address of this machine. The proxy wants a Pod behind it; unscheduled, it is
 * left alone.
 */
async function exposeAs({ api }: ControlPlane, ip: string, port: number): Promise<void> {
  const endpoints = `${CORE}/endpoints/${NAME}`;
  const subsets = [
    {
      addresses: [{ ip, targetRef: { kind: 'Pod', name: NAME, namespace: NAMESPACE } }],
      ports: [{ name: 'http', port }],
    },
  ];
  if ((await api.get(endpoints)) !== undefined) {
    await api.mergePatch(endpoints, { subsets });
    return;
  }
  const spec = { ports: [{ name: 'http', port: 8080 }] };
  await api.create(`${CORE}/services`, { ...object('v1', 'Service', NAME), spec });
  await api.create(`${CORE}/pods`, {
    ...object('v1', 'Pod', NAME),
    spec: {
      serviceAccountName: NAME,
      automountServiceAccountToken: false,
      containers: [{ name: 'controller', image: 'none' }],
    },
  });
  const status = { phase: 'Running', podIP: ip, podIPs: [{ ip }] };
  await api.mergePatch(`${CORE}/pods/${NAME}/status`, { status });
  await api.create(`${CORE}/endpoints`, { ...object('v1', 'Endpoints', NAME), subsets });
}

/** An address of this machine that isn't the loopback: the API server's proxy refuses that one. */
function externalAddress(): string {
  const found = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .find(
      ({ internal, family, address }) => !internal && family === 'IPv4' && !address.startsWith('169.254.'),
    );
  if (found === undefined) throw new Error('this machine has no address but the loopback');
  return found.address;
}

function object(apiVersion: string, kind: string, name: string) {
  return { apiVersion, kind, metadata: { name } };
}
