import assert from 'node:assert/strict';
import { CLUSTER_WIDE_ANNOTATION, NAMESPACE_WIDE_ANNOTATION } from '../../../operator/api/names.ts';
import { labelOf, scopeOf } from '../../../operator/sealing/scope.ts';

const NAMED = { namespace: 'shop', name: 'db' };

describe('a sealing scope', () => {
  const table: Array<{ annotations: Record<string, string>; scope: string; label: string }> = [
    { annotations: {}, scope: 'strict', label: 'shop/db' },
    { annotations: { [NAMESPACE_WIDE_ANNOTATION]: 'true' }, scope: 'namespace-wide', label: 'shop' },
    { annotations: { [CLUSTER_WIDE_ANNOTATION]: 'true' }, scope: 'cluster-wide', label: '' },
    {
      annotations: { [CLUSTER_WIDE_ANNOTATION]: 'true', [NAMESPACE_WIDE_ANNOTATION]: 'true' },
      scope: 'cluster-wide',
      label: '',
    },
    ...['True', 'TRUE', '1', 'yes', ' true', ''].map((value) => ({
      annotations: { [CLUSTER_WIDE_ANNOTATION]: value, [NAMESPACE_WIDE_ANNOTATION]: value },
      scope: 'strict',
      label: 'shop/db',
    })),
  ];
  for (const { annotations, scope, label } of table) {
    it(`is ${scope} for ${JSON.stringify(annotations)}`, () => {
      const metadata = { ...NAMED, annotations };
      assert.equal(scopeOf(metadata), scope);
      assert.equal(labelOf(metadata).toString(), label);
    });
  }

  it('is strict without any annotations', () => {
    assert.equal(scopeOf(NAMED), 'strict');
    assert.equal(labelOf(NAMED).toString(), 'shop/db');
  });
});
