import assert from 'node:assert/strict';
import type { GitRepository } from '../../operator/api/git-repository.gen.ts';
import { pgpSigner, type Signer, signHead, signTag, sshSigner } from '../support/signing.ts';
import { condition, isReady, useSource } from '../support/source-scene.ts';
import { useWorld } from '../support/world.ts';

describe('the signature of a revision', () => {
  const world = useWorld();
  const source = useSource(world);

  /** Commits a change signed by `signer`, if there is one, and pushes it. */
  async function pushSigned(signer: Signer | undefined, value: string): Promise<string> {
    const scene = source();
    scene.work.write({ 'a.yaml': `a: ${value}\n` });
    await scene.work.commit(`Say ${value}`);
    if (signer !== undefined) await signHead(scene.work, signer);
    await scene.work.push(scene.url);
    return scene.work.head();
  }

  async function pushTag(name: string, signer: Signer | undefined): Promise<void> {
    const scene = source();
    await signTag(scene.work, name, signer);
    await scene.work.git('push', '--quiet', '--force', scene.url, `refs/tags/${name}`);
  }

  async function setKeys(stringData: Record<string, string>): Promise<void> {
    const path = world().path('v1', 'secrets', 'keys');
    await world().api.mergePatch(path, { data: null, stringData });
  }

  const verify = (mode?: string) => ({
    secretRef: { name: 'keys' },
    ...(mode === undefined ? {} : { mode }),
  });

  function verified(repository: GitRepository): string {
    const { status, reason } = condition(repository, 'SourceVerified') ?? {};
    return `${status}/${reason}`;
  }

  function untilVerified(wanted: string): Promise<GitRepository> {
    return source().until(`SourceVerified=${wanted}`, (r) => verified(r) === wanted);
  }

  it('by a PGP or an SSH key of the Secret lets it be published, and the condition names the key', async () => {
    const scene = source();
    const pgp = await pgpSigner();
    const ssh = sshSigner();
    await scene.createSecret('keys', { 'a.asc': pgp.publicKey, 'b.sshpub': ssh.publicKey });
    const first = await pushSigned(pgp, '1');
    await scene.create({ spec: { verify: verify() } });
    const one = await scene.untilPublished(first);
    assert.equal(
      condition(one, 'SourceVerified')?.message,
      `verified signature of\n\t- commit '${first}' with key '${pgp.id}'`,
    );
    assert.equal(verified(one), 'True/Succeeded');
    assert.equal(one.status?.sourceVerificationMode, 'HEAD');
    assert.match(one.status?.sourceVerificationFingerprint ?? '', /^sha256:[0-9a-f]{64}$/);
    const second = await pushSigned(ssh, '2');
    await scene.request('now');
    const two = await scene.untilPublished(second);
    assert.ok((condition(two, 'SourceVerified')?.message ?? '').endsWith(`with key '${ssh.id}'`));
    await scene.patch({ spec: { verify: null } });
    const off = await scene.until(
      'no verification',
      (r) => isReady(r) && verified(r) === 'undefined/undefined',
    );
    assert.equal(off.status?.sourceVerificationMode, undefined);
    assert.equal(off.status?.sourceVerificationFingerprint, undefined);
  });

  it('that is missing, or of a stranger, keeps the last good artifact, until a good one comes', async () => {
    const scene = source();
    const ours = sshSigner();
    const stranger = sshSigner();
    await scene.createSecret('keys', { 'a.sshpub': ours.publicKey });
    const good = await pushSigned(ours, '1');
    await scene.create({ spec: { verify: verify('head') } });
    await scene.untilPublished(good);
    for (const [signer, why] of [
      [undefined, /it is not signed/],
      [stranger, /none of the trusted SSH keys/],
    ] as const) {
      const bad = await pushSigned(signer, String(why));
      await scene.request(bad);
      const refused = await scene.until(
        'the refusal',
        (r) => r.status?.lastHandledReconcileAt === bad && verified(r) === 'False/InvalidCommitSignature',
      );
      assert.equal(condition(refused, 'Ready')?.reason, 'InvalidCommitSignature');
      const { message = '' } = condition(refused, 'Ready') ?? {};
      assert.ok(message.startsWith(`signature verification of commit '${bad}' failed: `), message);
      assert.match(message, why);
      assert.ok(refused.status?.artifact?.revision.endsWith(good));
    }
    const next = await pushSigned(ours, '3');
    await scene.request('now');
    assert.equal(verified(await scene.untilPublished(next)), 'True/Succeeded');
    assert.equal((await scene.untilEvent('InvalidCommitSignature')).type, 'Warning');
  });

  it('is verified again when the keys change, the revision being the same', async () => {
    const scene = source();
    const before = await pgpSigner();
    const after = await pgpSigner();
    await scene.createSecret('keys', { 'a.asc': before.publicKey });
    const commit = await pushSigned(before, '1');
    await scene.create({ spec: { verify: verify() } });
    const first = await scene.untilPublished(commit);
    await setKeys({ 'a.asc': after.publicKey });
    const refused = await untilVerified('False/InvalidCommitSignature');
    assert.ok(refused.status?.artifact?.revision.endsWith(commit));
    await setKeys({ 'a.asc': after.publicKey, 'old.asc': before.publicKey });
    const again = await untilVerified('True/Succeeded');
    assert.equal(again.status?.artifact?.digest, first.status?.artifact?.digest);
    assert.notEqual(again.status?.sourceVerificationFingerprint, first.status?.sourceVerificationFingerprint);
  });

  it('may be that of the tag, or of both', async () => {
    const scene = source();
    const signer = await pgpSigner();
    await scene.createSecret('keys', { 'a.asc': signer.publicKey });
    const plain = await pushSigned(undefined, '1');
    await pushTag('v1.0.0', signer);
    await scene.create({ spec: { ref: { semver: '*' }, verify: verify('Tag') } });
    const first = await scene.untilPublished(plain);
    const tagLine = `\n\t- tag 'v1.0.0' with key '${signer.id}'`;
    assert.equal(condition(first, 'SourceVerified')?.message, `verified signature of${tagLine}`);
    await scene.patch({ spec: { verify: verify('TagAndHEAD') } });
    const unsigned = await untilVerified('False/InvalidCommitSignature');
    assert.match(condition(unsigned, 'Ready')?.message ?? '', /it is not signed/);
    const signed = await pushSigned(signer, '2');
    await pushTag('v1.1.0', signer);
    await scene.request('now');
    const both = await scene.untilPublished(signed);
    assert.equal(
      condition(both, 'SourceVerified')?.message,
      `verified signature of${tagLine.replace('0.0', '1.0')}\n\t- commit '${signed}' with key '${signer.id}'`,
    );
    assert.equal(both.status?.sourceVerificationMode, 'TagAndHEAD');
  });

  it('of a tag is looked for where there is one: lightweight, unsigned and strangers’ tags are refused', async () => {
    const scene = source();
    const ours = sshSigner();
    const stranger = sshSigner();
    await scene.createSecret('keys', { 'a.sshpub': ours.publicKey });
    await pushSigned(ours, '1');
    await scene.work.git('push', '--quiet', scene.url, 'HEAD:refs/tags/v1');
    await scene.create({ spec: { ref: { tag: 'v1' }, verify: verify('Tag') } });
    const light = await untilVerified('False/InvalidGitObject');
    assert.match(condition(light, 'Ready')?.message ?? '', /tag 'v1' since it is not annotated/);
    await pushTag('v2', undefined);
    await scene.patch({ spec: { ref: { tag: 'v2' } } });
    await scene.until('the unsigned tag', (r) =>
      /tag 'v2' since it is not signed/.test(condition(r, 'Ready')?.message ?? ''),
    );
    await pushTag('v3', stranger);
    await scene.patch({ spec: { ref: { tag: null, name: 'refs/tags/v3' } } });
    const strange = await untilVerified('False/InvalidTagSignature');
    assert.match(condition(strange, 'Ready')?.message ?? '', /^signature verification of tag 'v3' failed: /);
    assert.equal(strange.status?.artifact, undefined);
    await pushTag('v3', ours);
    await scene.request('now');
    await untilVerified('True/Succeeded');
  });

  it('cannot be that of a tag where none is followed: the keys are looked for first', async () => {
    const scene = source();
    const commit = await pushSigned(undefined, '1');
    await scene.create({ spec: { verify: verify('Tag') } });
    const keyless = await untilVerified('False/VerificationError');
    assert.match(
      condition(keyless, 'Ready')?.message ?? '',
      /Secret .*\/keys, which spec\.verify\.secretRef names/,
    );
    await scene.createSecret('keys', { 'a.asc': 'junk' });
    await scene.until('the junk', (r) =>
      /a\.asc is not a public key/.test(condition(r, 'Ready')?.message ?? ''),
    );
    await setKeys({ 'a.sshpub': sshSigner().publicKey, 'a.asc': (await pgpSigner()).publicKey });
    const stalled = await untilVerified('False/InvalidVerificationMode');
    assert.equal(condition(stalled, 'Stalled')?.reason, 'InvalidVerificationMode');
    assert.equal(condition(stalled, 'Ready')?.status, 'False');
    await scene.patch({ spec: { verify: null } });
    await scene.untilPublished(commit);
  });
});
