import assert from 'node:assert/strict';
import { type ObjectId, parseId } from '../../../operator/apply/inventory.ts';
import { deletionWaves, plan } from '../../../operator/apply/order.ts';

function id(kind: string, o: Partial<ObjectId> = {}): ObjectId {
  return { kind, namespace: 'ns', name: 'a', group: '', ...o };
}

/** Flux's order, kind by kind (fluxcd/pkg ssa), stage by stage. */
const FLUX_ORDER = [
  'CustomResourceDefinition',
  'Namespace',
  'ClusterRole',
  'ClusterClass',
  'RuntimeClass',
  'PriorityClass',
  'StorageClass',
  'VolumeSnapshotClass',
  'IngressClass',
  'GatewayClass',
  'ClusterRoleBinding',
  'ResourceQuota',
  'ServiceAccount',
  'Role',
  'RoleBinding',
  'ConfigMap',
  'Secret',
  'Service',
  'LimitRange',
  'Deployment',
  'StatefulSet',
  'CronJob',
  'PodDisruptionBudget',
  'DaemonSet',
  'MutatingWebhookConfiguration',
  'ValidatingWebhookConfiguration',
];

describe('the order of apply', () => {
  it("is Flux's for every kind that has a place of its own", () => {
    const shuffled = FLUX_ORDER.map((kind) => id(kind)).sort((a, b) => (a.kind < b.kind ? -1 : 1));
    const sorted = plan(shuffled, (item) => item).flat(2);
    assert.deepEqual(
      sorted.map(({ kind }) => kind),
      FLUX_ORDER,
    );
  });

  it('puts definitions first, classes second and the rest last', () => {
    const stages = plan([id('Widget'), id('MyClass'), id('Namespace'), id('ConfigMap')], (item) => item);
    assert.deepEqual(
      stages.map((stage) => stage.flat().map(({ kind }) => kind)),
      [['Namespace'], ['MyClass'], ['ConfigMap', 'Widget']],
    );
  });

  it('writes in parallel only what does not need each other', () => {
    const kinds = ['ServiceAccount', 'Role', 'RoleBinding', 'Secret', 'Deployment', 'Widget'];
    const webhook = 'ValidatingWebhookConfiguration';
    const [stage = []] = plan(
      [webhook, ...kinds].map((kind) => id(kind)),
      (item) => item,
    );
    assert.deepEqual(
      stage.map((wave) => wave.map(({ kind }) => kind)),
      [['ServiceAccount', 'Role'], ['RoleBinding', 'Secret'], ['Deployment', 'Widget'], [webhook]],
    );
  });

  it('sorts unknown kinds by group and kind, and ties by namespace and name', () => {
    const items = [
      id('Widget', { group: 'z.io' }),
      id('Gadget', { group: 'z.io', name: 'b' }),
      id('Gadget', { group: 'z.io' }),
      id('Gadget', { group: 'z.io', namespace: 'aa', name: 'z' }),
      id('Widget', { group: 'a.io' }),
    ];
    assert.deepEqual(
      plan(items, (item) => item)
        .flat(2)
        .map(({ group, kind, namespace, name }) => `${group} ${kind} ${namespace} ${name}`),
      ['a.io Widget ns a', 'z.io Gadget aa z', 'z.io Gadget ns a', 'z.io Gadget ns b', 'z.io Widget ns a'],
    );
  });

  it('is reversed for deletion: webhooks first, definitions last', () => {
    const entries = ['_ns__Namespace', 'ns_a__ConfigMap', 'ns_b_apps_Deployment', '_w_x.io_FooClass'];
    const waves = deletionWaves(entries.map((entry) => ({ id: entry, v: 'v1' })));
    assert.deepEqual(
      waves.map((wave) => wave.map((entry) => parseId(entry.id).kind)),
      [['Deployment'], ['ConfigMap'], ['FooClass'], ['Namespace']],
    );
  });
});
