import assert from 'node:assert/strict';
import { applyFailed, isWaitingForNamespace } from '../../../operator/apply/apply-error.ts';
import { ApiError } from '../../../operator/kube/errors.ts';

describe('an apply error', () => {
  it("names the object, the API server's reason and its message, as Flux does", () => {
    const refused = new ApiError({ status: 422, reason: 'Invalid', message: 'spec.x: Invalid value' });
    const object = { kind: 'Service', metadata: { name: 'web', namespace: 'apps' } };
    assert.equal(
      applyFailed(object, 'dry-run', refused).message,
      'Service/apps/web dry-run failed (Invalid): spec.x: Invalid value',
    );
  });

  it("never shows a Secret's value, as written, decoded or of another type", () => {
    const secret = {
      kind: 'Secret',
      metadata: { name: 's', namespace: 'apps' },
      data: { a: 'aHVudGVyMg==', b: 123456 },
      stringData: { c: 'correct horse' },
    };
    const message = 'got "aHVudGVyMg==" i.e. hunter2, valueUnstructured{Value:123456}, correct horse';
    const error = applyFailed(secret, 'apply', new ApiError({ status: 400, message }));
    assert.doesNotMatch(error.message, /aHVud|hunter2|123456|correct/);
    assert.match(error.message, /Secret\/apps\/s apply failed.*\*{5}/);
    assert.equal(error.cause, undefined);
  });

  it('tells a namespace that is ending or missing from other refusals', () => {
    const terminating = new ApiError({
      status: 403,
      message: 'm',
      details: { causes: [{ reason: 'NamespaceTerminating' }] },
    });
    const missing = new ApiError({ status: 404, message: 'm', details: { kind: 'namespaces', name: 'x' } });
    assert.equal(isWaitingForNamespace(terminating), true);
    assert.equal(isWaitingForNamespace(missing), true);
    assert.equal(isWaitingForNamespace(new ApiError({ status: 403, message: 'm' })), false);
    assert.equal(isWaitingForNamespace(new ApiError({ status: 404, message: 'm' })), false);
  });
});
