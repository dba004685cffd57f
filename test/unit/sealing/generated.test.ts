import assert from 'node:assert/strict';
import { GENERATED_FROM_ANNOTATION } from '../../../operator/api/names.ts';
import type { KubeObject, StoredObject } from '../../../operator/api/objects.ts';
import { keepGenerated } from '../../../operator/sealing/generated.ts';

const SPEC = { encryptedData: { a: 'AgB=', b: 'AgC=' }, template: { data: { id: '{{ uuidv4 }}' } } };
const desired: KubeObject = {
  ...{ apiVersion: 'v1', kind: 'Secret' },
  metadata: { name: 'db', annotations: { note: 'x' } },
  data: { a: 'YQ==', id: 'bmV3' },
};

function live(
  annotations: Record<string, string>,
  data: Record<string, string> = { a: 'eA==', id: 'b2xk' },
): StoredObject {
  return { ...desired, metadata: { name: 'db', uid: 'u', resourceVersion: '1', annotations }, data };
}

describe('generated values', () => {
  const keep = (o: Partial<Parameters<typeof keepGenerated>[0]> = {}) =>
    keepGenerated({
      desired,
      generated: new Set(['id']),
      existing: undefined,
      spec: SPEC,
      settled: false,
      ...o,
    });
  const remembering = () => ({
    [GENERATED_FROM_ANNOTATION]: keep().metadata.annotations?.[GENERATED_FROM_ANNOTATION] ?? '',
  });

  it('are remembered with the spec that they were made from, and with nothing of the plaintext', () => {
    const { metadata, data } = keep();
    assert.deepEqual(data, desired.data);
    assert.match(metadata.annotations?.[GENERATED_FROM_ANNOTATION] ?? '', /^sha256:[0-9a-f]{64}$/);
    assert.equal(metadata.annotations?.note, 'x');
    const other = keep({ desired: { ...desired, data: { a: 'b3RoZXI=', id: 'eA==' } } });
    assert.deepEqual(other.metadata.annotations, metadata.annotations);
  });

  it('stay while the spec is the same, whatever the order of its fields; other values are put right', () => {
    const { encryptedData, template } = SPEC;
    const shuffled = { template, encryptedData: { b: encryptedData.b, a: encryptedData.a } };
    const { data } = keep({ existing: live(remembering()), spec: shuffled });
    assert.deepEqual(data, { a: 'YQ==', id: 'b2xk' });
  });

  it('are made anew when the spec changed, or when the key is missing', () => {
    const spec = { ...SPEC, encryptedData: { a: 'AgD=' } };
    assert.deepEqual(keep({ existing: live(remembering()), spec, settled: true }).data, desired.data);
    assert.deepEqual(keep({ existing: live(remembering(), { a: 'eA==' }) }).data, desired.data);
  });

  it('stay on a Secret that remembers nothing when status says that this spec was unsealed before', () => {
    assert.deepEqual(keep({ existing: live({}), settled: true }).data, { a: 'YQ==', id: 'b2xk' });
    assert.deepEqual(keep({ existing: live({}), settled: false }).data, desired.data);
  });

  it('leave no trace where there are none', () => {
    assert.equal(keep({ generated: new Set(), existing: live({}) }), desired);
  });
});
