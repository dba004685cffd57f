import assert from 'node:assert/strict';
import { join } from 'node:path';
import { git as runGit } from '../../hack/cluster/git-process.ts';
import { SourceError } from '../../operator/source/errors.ts';
import { selectRef } from '../../operator/source/git-ref.ts';
import { useGitWorld } from '../support/git-world.ts';

describe('the ref of a repository', () => {
  const world = useGitWorld();

  async function revision(ref: Parameters<typeof selectRef>[0]): Promise<string> {
    return (await world().sync({ ref: selectRef(ref) })).artifact.revision;
  }

  /** Commits a change and tags it, on the server too. */
  async function tagged(...names: string[]): Promise<string> {
    const commit = await world().push({ 'app/a.yaml': `names: ${names.join()}\n` });
    for (const name of names) await pushTag(name, commit);
    return commit;
  }

  async function pushTag(name: string, commit: string): Promise<void> {
    await world().work.git('push', '--quiet', '--force', world().url, `${commit}:refs/tags/${name}`);
  }

  async function annotate(name: string): Promise<void> {
    await world().work.git('tag', '-f', '-a', '-m', `About ${name}`, name);
    await world().work.git('push', '--quiet', '--force', world().url, `refs/tags/${name}`);
  }

  it('may be a range of versions: the newest tag within it, by its version and not by its age', async () => {
    const ten = await tagged('v1.10.0');
    const nine = await tagged('v1.9.0', 'v2.0.0-rc.1', 'nightly');
    assert.equal(await revision({ semver: '1.x' }), `v1.10.0@sha1:${ten}`);
    assert.equal(await revision({ semver: '<1.10' }), `v1.9.0@sha1:${nine}`);
    assert.equal(await revision({ semver: '>=2.0.0-0' }), `v2.0.0-rc.1@sha1:${nine}`);
    const newest = await tagged('1.11.0');
    assert.equal(await revision({ semver: '1.x' }), `1.11.0@sha1:${newest}`);
  });

  it('says so when no tag is within the range', async () => {
    await tagged('v1.0.0');
    await assert.rejects(revision({ semver: '>=2' }), (error: unknown) => {
      assert.ok(error instanceof SourceError);
      assert.equal(error.reason, 'GitOperationFailed');
      assert.equal(error.stalled, false);
      assert.equal(error.message, 'no match found for semver: >=2');
      return true;
    });
  });

  it('is, of two tags of one version, the one whose commit was made last', async () => {
    const bare = join(world().directory, 'repositories/fleet.git');
    const commitAt = async (date: string): Promise<string> => {
      const author = { GIT_AUTHOR_DATE: date, GIT_COMMITTER_DATE: date };
      const args = ['commit-tree', '-m', date, 'HEAD^{tree}'];
      return (await runGit(bare, args, { ...author, ...IDENTITY })).trim();
    };
    await world().push({ 'app/a.yaml': 'a: 1\n' });
    const [late, early] = [await commitAt('2024-05-01T00:00:00Z'), await commitAt('2021-05-01T00:00:00Z')];
    await runGit(bare, ['update-ref', 'refs/tags/1.0.0+a', late]);
    await runGit(bare, ['update-ref', 'refs/tags/1.0.0+b', early]);
    assert.equal(await revision({ semver: '*' }), `1.0.0+a@sha1:${late}`);
    await runGit(bare, ['update-ref', 'refs/tags/1.0.0+a', early]);
    await runGit(bare, ['update-ref', 'refs/tags/1.0.0+b', late]);
    assert.equal(await revision({ semver: '*' }), `1.0.0+b@sha1:${late}`);
  });

  it('is peeled where a tag is annotated, by name and by range, and followed when the tag is moved', async () => {
    const first = await world().push({ 'app/a.yaml': 'a: 1\n' });
    await annotate('v1.0.0');
    assert.equal(await revision({ tag: 'v1.0.0' }), `v1.0.0@sha1:${first}`);
    assert.equal(await revision({ semver: '^1' }), `v1.0.0@sha1:${first}`);
    const second = await world().push({ 'app/a.yaml': 'a: 2\n' });
    await annotate('v1.0.0');
    assert.equal(await revision({ tag: 'v1.0.0' }), `v1.0.0@sha1:${second}`);
    assert.equal(await revision({ semver: '^1' }), `v1.0.0@sha1:${second}`);
  });

  it('may be any full name, as that of a pull request, and keeps it in the revision', async () => {
    await world().push({ 'app/a.yaml': 'a: 1\n' });
    world().work.write({ 'app/a.yaml': 'a: 2\n' });
    const proposed = await world().work.commit('Propose');
    await world().work.git('push', '--quiet', world().url, `${proposed}:refs/pull/1/head`);
    assert.equal(await revision({ name: 'refs/pull/1/head' }), `refs/pull/1/head@sha1:${proposed}`);
    assert.equal(await revision({ name: 'refs/heads/main' }), `refs/heads/main@sha1:${await mainHead()}`);
  });

  it('may be a commit of old, with the branch that must have it or without', async () => {
    const first = await world().push({ 'app/a.yaml': 'a: 1\n' });
    await world().push({ 'app/a.yaml': 'a: 2\n' });
    assert.equal(await revision({ commit: first }), `sha1:${first}`);
    assert.equal(await revision({ commit: first, branch: 'main' }), `main@sha1:${first}`);
  });

  it('is the commit rather than the name, the name rather than the tag, the tag rather than the range', async () => {
    const first = await tagged('v1.0.0');
    const second = await tagged('v2.0.0');
    const all = { branch: 'main', semver: '1.x', tag: 'v2.0.0', name: 'refs/tags/v1.0.0' };
    assert.equal(await revision({ ...all, commit: first }), `main@sha1:${first}`);
    assert.equal(await revision(all), `refs/tags/v1.0.0@sha1:${first}`);
    const { name: _, ...unnamed } = all;
    assert.equal(await revision(unnamed), `v2.0.0@sha1:${second}`);
    assert.equal(await revision({ branch: 'main', semver: '1.x' }), `v1.0.0@sha1:${first}`);
  });

  async function mainHead(): Promise<string> {
    const bare = join(world().directory, 'repositories/fleet.git');
    return (await runGit(bare, ['rev-parse', 'refs/heads/main'])).trim();
  }
});

const IDENTITY = {
  GIT_AUTHOR_NAME: 'Somebody',
  GIT_AUTHOR_EMAIL: 'somebody@example.com',
  GIT_COMMITTER_NAME: 'Somebody',
  GIT_COMMITTER_EMAIL: 'somebody@example.com',
};
