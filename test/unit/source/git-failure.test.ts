import assert from 'node:assert/strict';
import { classify, gitFailure, summary } from '../../../operator/source/git-failure.ts';
import { GitExit } from '../../../operator/source/git-process.ts';

describe('what git says when it fails', () => {
  it('is told on one line without hints, warnings and control characters', () => {
    const stderr =
      'warning: redirecting to https://x/\nremote: Repository \u001b[31mnot found.\nhint: try again\nfatal: unable to access\n';
    assert.equal(summary(stderr, []), 'remote: Repository  [31mnot found.; unable to access');
    assert.equal(summary('', []), 'git gave no reason');
    assert.ok(summary(`fatal: ${'x'.repeat(5000)}`, []).length < 600);
  });

  it('never repeats a credential', () => {
    const credentials = { basic: { username: 'ada', password: 'hunter2' } };
    const encoded = Buffer.from('ada:hunter2').toString('base64');
    const exit = new GitExit(128, `remote: you sent hunter2 and ${encoded}\nfatal: no`);
    const { message, reason } = gitFailure(exit, { what: 'fetch from', href: 'https://x/y', credentials });
    assert.equal(message, "failed to fetch from 'https://x/y': remote: you sent *** and ***; no");
    assert.equal(reason, 'GitOperationFailed');
  });

  it('names the Secret field when it is about credentials', () => {
    const exit = new GitExit(
      128,
      "fatal: could not read Username for 'https://x': terminal prompts disabled\n",
    );
    const o = { what: 'fetch from', href: 'https://x/y' };
    assert.match(gitFailure(exit, o).message, /name a Secret .*spec\.secretRef/);
    assert.match(
      gitFailure(exit, { ...o, credentials: { bearerToken: 't' } }).message,
      /refused the credentials/,
    );
    assert.equal(gitFailure(exit, o).reason, 'AuthenticationFailed');
  });

  it('names ssh when that is not installed', () => {
    const end =
      'fatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights';
    for (const shell of ['/bin/sh: 1: ssh: not found', 'sh: line 1: ssh: command not found']) {
      const o = { what: 'fetch from', href: 'ssh://x/y' };
      const { message } = gitFailure(new GitExit(128, `${shell}\n${end}`), o);
      assert.match(message, /the program ssh \(openssh-client\) is not installed/);
    }
  });

  it('says what ssh said, without what git always adds to it', () => {
    const stderr = [
      'ERROR: Repository not found.',
      'fatal: Could not read from remote repository.',
      '',
      'Please make sure you have the correct access rights',
      'and the repository exists.',
    ].join('\n');
    assert.equal(summary(stderr, []), 'ERROR: Repository not found.');
    assert.equal(classify(new GitExit(128, stderr)), 'connection');
  });

  it('is sorted by what to do about it', () => {
    const of = (stderr: string) => classify(new GitExit(128, stderr));
    assert.equal(of('fatal: unable to access: The requested URL returned error: 403'), 'authentication');
    assert.equal(of('fatal: unable to access: The requested URL returned error: 301'), 'redirect');
    assert.equal(of("fatal: couldn't find remote ref refs/heads/x"), 'ref');
    assert.equal(of('fatal: unable to access: Failed to connect to x port 1'), 'connection');
    assert.equal(of('fatal: unable to access: The requested URL returned error: 503'), 'connection');
    assert.equal(of('error: object file x is empty'), 'other');
  });
});
