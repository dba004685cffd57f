import assert from 'node:assert/strict';
import { SourceError } from '../../../operator/source/errors.ts';
import { parseRepositoryUrl } from '../../../operator/source/repository-url.ts';

function refusal(url: string): SourceError {
  try {
    parseRepositoryUrl(url);
  } catch (error) {
    assert.ok(error instanceof SourceError);
    assert.equal(error.reason, 'URLInvalid');
    assert.equal(error.stalled, true);
    return error;
  }
  throw new assert.AssertionError({ message: `${url} was accepted` });
}

describe('a repository URL', () => {
  it('is http, https or ssh', () => {
    assert.deepEqual(parseRepositoryUrl('https://example.org:8443/team/fleet.git'), {
      href: 'https://example.org:8443/team/fleet.git',
      transport: 'https',
      host: 'example.org:8443',
    });
    assert.equal(parseRepositoryUrl('http://example.org/x').transport, 'http');
    assert.equal(parseRepositoryUrl('ssh://git@example.org/x').href, 'ssh://git@example.org/x');
    for (const url of ['file:///etc', 'ext::sh -c id', 'git://example.org/x', 'ftp://example.org/x'])
      assert.match(refusal(url).message, /spec\.url/);
  });

  it('in scp form is refused with its ssh:// spelling', () => {
    assert.match(
      refusal('git@example.org:team/fleet.git').message,
      /ssh:\/\/git@example\.org\/team\/fleet\.git/,
    );
    assert.match(refusal('example.org:team/fleet').message, /ssh:\/\/git@example\.org\/team\/fleet/);
  });

  it('keeps its user name and password apart', () => {
    const url = parseRepositoryUrl('https://ada:p%40ss@example.org/x');
    assert.equal(url.href, 'https://example.org/x');
    assert.deepEqual(url.userinfo, { username: 'ada', password: 'p@ss' });
  });

  it('that cannot be read is shown without its password', () => {
    assert.doesNotMatch(refusal('https://ada:hunter2@:99999/x').message, /hunter2/);
  });

  it('with spaces, control characters or a fragment is refused', () => {
    for (const url of [
      'https://example.org/a b',
      'https://example.org/\u0007',
      'https://example.org/x#main',
      '',
    ])
      refusal(url);
  });
});
