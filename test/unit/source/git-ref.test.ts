import assert from 'node:assert/strict';
import { SourceError } from '../../../operator/source/errors.ts';
import { fullRefName, type GitRefSpec, revisionOf, selectRef } from '../../../operator/source/git-ref.ts';

const COMMIT = '0123456789abcdef0123456789abcdef01234567';

describe('spec.ref', () => {
  it('has the precedence commit, name, tag, semver, branch, master', () => {
    const all = { branch: 'b', tag: 't', semver: '1.x', name: 'refs/n/n', commit: COMMIT };
    const { commit: _, ...withoutCommit } = all;
    const { name: __, ...withoutName } = withoutCommit;
    assert.deepEqual(selectRef(all), { kind: 'commit', commit: COMMIT, branch: 'b' });
    assert.deepEqual(selectRef(withoutCommit), { kind: 'name', name: 'refs/n/n' });
    assert.deepEqual(selectRef(withoutName), { kind: 'tag', tag: 't' });
    assert.deepEqual(selectRef({ branch: 'b' }), { kind: 'branch', branch: 'b' });
    for (const nothing of [undefined, {}, { branch: '' }])
      assert.deepEqual(selectRef(nothing), { kind: 'branch', branch: 'master' });
  });

  it('gives the full ref and the revision in the spelling of Flux', () => {
    const table: Array<[GitRefSpec, string | undefined, string]> = [
      [{ branch: 'feature/x' }, 'refs/heads/feature/x', `feature/x@sha1:${COMMIT}`],
      [{ tag: 'v1.0.0' }, 'refs/tags/v1.0.0', `v1.0.0@sha1:${COMMIT}`],
      [{ name: 'refs/pull/1/head' }, 'refs/pull/1/head', `refs/pull/1/head@sha1:${COMMIT}`],
      [{ commit: COMMIT }, undefined, `sha1:${COMMIT}`],
      [{ commit: COMMIT, branch: 'main' }, 'refs/heads/main', `main@sha1:${COMMIT}`],
    ];
    for (const [spec, name, revision] of table) {
      const ref = selectRef(spec);
      assert.ok(ref.kind !== 'semver');
      assert.equal(fullRefName(ref), name);
      assert.equal(revisionOf(ref, COMMIT), revision);
    }
  });

  it('that cannot be honoured is refused for good, naming the field', () => {
    const table: Array<[GitRefSpec, RegExp]> = [
      [{ semver: 'latest' }, /semver parse error: spec\.ref\.semver "latest" is not a range/],
      [{ commit: 'abc123' }, /spec\.ref\.commit .*40 hex/],
      [{ name: 'main' }, /spec\.ref\.name .*refs\/heads\/main/],
      [{ tag: '--upload-pack=touch /tmp/x' }, /spec\.ref\.tag .*command line option/],
      [{ branch: '-b' }, /spec\.ref\.branch .*command line option/],
      [{ branch: 'a b' }, /spec\.ref\.branch .*git-check-ref-format/],
      [{ branch: 'a:refs/heads/b' }, /cannot be a git ref/],
      [{ branch: 'a\nb' }, /cannot be a git ref/],
      [{ branch: 'a\u0001b' }, /cannot be a git ref/],
      [{ tag: '../../x' }, /cannot be a git ref/],
      [{ name: 'refs/heads/*' }, /cannot be a git ref/],
      [{ name: 'refs/heads/x.lock' }, /cannot be a git ref/],
    ];
    for (const [spec, message] of table)
      assert.throws(
        () => selectRef(spec),
        (error: unknown) => error instanceof SourceError && error.stalled && message.test(error.message),
        JSON.stringify(spec),
      );
  });
});
