import assert from 'node:assert/strict';
import type { KubeObject } from '../../../operator/api/objects.ts';
import {
  difference,
  encodeId,
  entryOf,
  InventoryError,
  parseId,
  parseInventory,
  union,
} from '../../../operator/apply/inventory.ts';

const RBAC = 'rbac.authorization.k8s.io';

function object(apiVersion: string, kind: string, name: string, namespace?: string): KubeObject {
  return { apiVersion, kind, metadata: namespace === undefined ? { name } : { name, namespace } };
}

describe('the inventory', () => {
  const table: [KubeObject, string, string][] = [
    [object('v1', 'Service', 'podinfo', 'default'), 'default_podinfo__Service', 'v1'],
    [object('apps/v1', 'Deployment', 'podinfo', 'default'), 'default_podinfo_apps_Deployment', 'v1'],
    [object('v1', 'Namespace', 'apps'), '_apps__Namespace', 'v1'],
    [object(`${RBAC}/v1`, 'ClusterRole', 'system:x'), `_system__x_${RBAC}_ClusterRole`, 'v1'],
    [object(`${RBAC}/v1`, 'RoleBinding', 'a:b:c', 'ns'), `ns_a__b__c_${RBAC}_RoleBinding`, 'v1'],
    [object(`${RBAC}/v1`, 'ClusterRole', 'one_underscore'), `_one_underscore_${RBAC}_ClusterRole`, 'v1'],
    [object('v1', 'Odd', 'with_one', 'ns'), 'ns_with_one__Odd', 'v1'],
    [object('example.com/v1alpha1', 'Widget', 'w:1', 'ns'), 'ns_w:1_example.com_Widget', 'v1alpha1'],
  ];
  for (const [subject, id, v] of table) {
    it(`lists ${subject.kind} ${subject.metadata.name} as ${id} and finds it again`, () => {
      assert.deepEqual(entryOf(subject), { id, v });
      const parsed = parseId(id);
      assert.equal(parsed.name, subject.metadata.name);
      assert.equal(parsed.namespace, subject.metadata.namespace ?? '');
      assert.equal(parsed.kind, subject.kind);
      assert.equal(encodeId(parsed), id);
    });
  }

  it('refuses a name that would be read back as another, so that nothing is applied that prune could not find', () => {
    assert.throws(() => entryOf(object(`${RBAC}/v1`, 'Role', 'a__b', 'ns')), InventoryError);
    assert.throws(() => entryOf(object(`${RBAC}/v1`, 'Role', 'a_:b', 'ns')), InventoryError);
  });

  it('is empty only when it was never written or lists nothing', () => {
    for (const empty of [undefined, null, {}, { entries: null }, { entries: [] }]) {
      assert.deepEqual(parseInventory(empty), []);
    }
    const entries = [{ id: 'a_b__ConfigMap', v: 'v1' }];
    assert.deepEqual(parseInventory({ entries }), entries);
  });

  const unreadable: unknown[] = [
    'text',
    7,
    { entries: 'x' },
    { entries: {} },
    { entries: [null] },
    { entries: [{}] },
    { entries: [{ id: 'a_b__ConfigMap' }] },
    { entries: [{ id: 'a_b__ConfigMap', v: '' }] },
    { entries: [{ id: 'a_b_ConfigMap', v: 'v1' }] },
    { entries: [{ id: 'nothing', v: 'v1' }] },
    { entries: [{ id: 'a___ConfigMap', v: 'v1' }] },
    { entries: [{ id: 'a_b__', v: 'v1' }] },
    { entries: [{ id: 7, v: 'v1' }] },
  ];
  for (const inventory of unreadable) {
    it(`never reads ${JSON.stringify(inventory)} as empty`, () => {
      assert.throws(() => parseInventory(inventory), InventoryError);
    });
  }

  it('adds ids once, with the newer version, and takes them away whatever their version', () => {
    const a = { id: 'n_a__ConfigMap', v: 'v1' };
    const b = { id: 'n_b_batch_CronJob', v: 'v1beta1' };
    const newerB = { id: 'n_b_batch_CronJob', v: 'v1' };
    const c = { id: 'n_c__Secret', v: 'v1' };
    assert.deepEqual(union([a, b], [newerB, c]), [a, newerB, c]);
    assert.deepEqual(difference([a, b, c], [newerB]), [a, c]);
  });
});
