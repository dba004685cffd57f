import type { ResourceType } from '../../operator/api/resources.ts';
import { KubeClient, type KubeClientOptions } from '../../operator/kube/client.ts';
import { type ClusterConfig, loadClusterConfig } from '../../operator/kube/config.ts';
import type { Observation } from '../../operator/kube/transport.ts';

/** The kind that most tests watch: it has no controller of its own. */
export const CONFIG_MAP: ResourceType = {
  group: '',
  version: 'v1',
  kind: 'ConfigMap',
  plural: 'configmaps',
  namespaced: true,
};

/** A client that remembers what it asked. */
export interface ObservedClient {
  client: KubeClient;
  requests: Observation[];
}

/** Clients for the tests of the surrounding `describe`, closed after each test. */
export function useClients(): (
  kubeconfig: string,
  o?: Partial<KubeClientOptions> & { override?: Partial<ClusterConfig> },
) => ObservedClient {
  let open: KubeClient[] = [];
  afterEach('close the clients', async () => {
    await Promise.all(open.map((client) => client.close()));
    open = [];
  });
  return (kubeconfig, { override, ...o } = {}) => {
    const requests: Observation[] = [];
    const client = new KubeClient({
      config: { ...loadClusterConfig({ kubeconfig }), ...override },
      observe: (observation) => void requests.push(observation),
      ...o,
    });
    open.push(client);
    return { client, requests };
  };
}
