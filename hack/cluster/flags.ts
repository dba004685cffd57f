import { join } from 'node:path';

/** Where a local control plane's files are and what it listens on. */
export interface ClusterLayout {
  readonly directory: string;
  readonly port: number;
  readonly unsafeNoFsync: boolean;
  /** undefined: no audit log. */
  readonly auditLog: string | undefined;
  readonly extraApiServerFlags: readonly string[];
}

/** etcd's flags. It listens on socket files in the folder, which only its owner may enter: no port, no certificates. */
export function etcdFlags(layout: ClusterLayout): string[] {
  const peers = `unix://${join(layout.directory, 'peer.sock')}`;
  return [
    '--name=signet',
    `--data-dir=${join(layout.directory, 'etcd')}`,
    `--listen-client-urls=${etcdSocket(layout)}`,
    `--advertise-client-urls=${etcdSocket(layout)}`,
    `--listen-peer-urls=${peers}`,
    `--initial-advertise-peer-urls=${peers}`,
    `--initial-cluster=signet=${peers}`,
    '--log-level=warn',
    ...(layout.unsafeNoFsync ? ['--unsafe-no-fsync'] : []),
  ];
}

/** kube-apiserver's flags. */
export function apiServerFlags(layout: ClusterLayout): string[] {
  const file = (name: string) => join(layout.directory, name);
  return [
    `--etcd-servers=${etcdSocket(layout)}`,
    '--bind-address=127.0.0.1',
    '--advertise-address=127.0.0.1',
    `--secure-port=${layout.port}`,
    `--tls-cert-file=${file('apiserver.crt')}`,
    `--tls-private-key-file=${file('apiserver.key')}`,
    `--client-ca-file=${file('ca.crt')}`,
    '--authorization-mode=RBAC',
    '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
    `--service-account-key-file=${file('service-accounts.pub')}`,
    `--service-account-signing-key-file=${file('service-accounts.key')}`,
    '--service-cluster-ip-range=10.96.0.0/16',
    // The kubernetes Service can't have a loopback address as its endpoint.
    '--endpoint-reconciler-type=none',
    '--allow-privileged=true',
    '--profiling=false',
    // Without it a stop waits for clients to leave their watches, up to a minute.
    '--shutdown-watch-termination-grace-period=2s',
    ...(layout.auditLog === undefined
      ? []
      : [`--audit-policy-file=${file('audit-policy.json')}`, `--audit-log-path=${layout.auditLog}`]),
    ...layout.extraApiServerFlags,
  ];
}

/** kube-controller-manager's flags. It serves nothing itself. */
export function controllerManagerFlags(layout: ClusterLayout): string[] {
  const file = (name: string) => join(layout.directory, name);
  return [
    `--kubeconfig=${file('kube-controller-manager.kubeconfig')}`,
    `--root-ca-file=${file('ca.crt')}`,
    `--service-account-private-key-file=${file('service-accounts.key')}`,
    '--leader-elect=false',
    '--secure-port=0',
    // Many tests each end a namespace: don't let them queue behind the client's default of 20 requests a second.
    '--kube-api-qps=300',
    '--kube-api-burst=600',
  ];
}

/** kube-scheduler's flags. It serves nothing itself. */
export function schedulerFlags(layout: ClusterLayout): string[] {
  return [
    `--kubeconfig=${join(layout.directory, 'kube-scheduler.kubeconfig')}`,
    '--leader-elect=false',
    '--secure-port=0',
  ];
}

function etcdSocket(layout: ClusterLayout): string {
  return `unix://${join(layout.directory, 'etcd.sock')}`;
}
