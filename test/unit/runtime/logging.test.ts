import assert from 'node:assert/strict';
import { createLogger, type LogLevel } from '../../../operator/runtime/logging.ts';
import { passLogFields } from '../../../operator/runtime/reconciler.ts';

function capture(o: { level?: LogLevel; encoding?: 'json' | 'console' } = {}) {
  const written: string[] = [];
  const logger = createLogger({
    level: o.level ?? 'info',
    encoding: o.encoding ?? 'json',
    destination: { write: (line) => written.push(line) },
  });
  const lines = (): Record<string, unknown>[] =>
    written.map((line) => JSON.parse(line) as Record<string, unknown>);
  return { logger, written, lines };
}

describe('log', () => {
  it('is one JSON object a line with the keys that `flux logs` reads', () => {
    const { logger, written, lines } = capture();
    const pass = logger.child(
      passLogFields({
        controller: 'kustomization',
        group: 'kustomize.toolkit.fluxcd.io',
        kind: 'Kustomization',
        name: 'apps',
        namespace: 'flux-system',
        reconcileId: 'id',
      }),
    );
    pass.error('reconciliation failed', { error: new Error('no such path') });
    assert.equal(written.length, 1);
    assert.ok(written[0]?.endsWith('}\n'));
    const [{ ts, ...rest } = { ts: undefined }] = lines();
    assert.match(String(ts), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.deepEqual(rest, {
      level: 'error',
      msg: 'reconciliation failed',
      controller: 'kustomization',
      controllerGroup: 'kustomize.toolkit.fluxcd.io',
      controllerKind: 'Kustomization',
      name: 'apps',
      namespace: 'flux-system',
      reconcileID: 'id',
      error: 'no such path',
    });
  });

  it("uses Flux's level names only, and shows each level and those above it", () => {
    const all = capture({ level: 'trace' });
    const few = capture({ level: 'error' });
    for (const { logger } of [all, few]) {
      logger.debug('d');
      logger.info('i');
      logger.warn('w');
      logger.error('e');
    }
    assert.deepEqual(
      all.lines().map((line) => `${line.level} ${line.msg}`),
      ['debug d', 'info i', 'info w', 'error e'],
    );
    assert.deepEqual(
      few.lines().map((line) => line.msg),
      ['e'],
    );
  });

  it('shows no value under a key that names a secret, however deep, in a line or a child', () => {
    const { logger, written, lines } = capture();
    const secrets = {
      password: 's3cret',
      accessToken: 's3cret',
      'identity.pub': 's3cret',
      headers: { Authorization: 's3cret', accept: 'text/plain' },
      objects: [{ kind: 'Secret', data: { a: 's3cret' }, stringData: { b: 's3cret' } }],
      bytes: Buffer.from('s3cret'),
      map: new Map([['clientPassword', 's3cret']]),
    };
    logger.child(secrets).info('with a child', secrets);
    assert.ok(!written.join('').includes('s3cret'));
    const [line] = lines();
    assert.deepEqual(line?.headers, { Authorization: '[redacted]', accept: 'text/plain' });
    assert.deepEqual(line?.objects, [{ kind: 'Secret', data: '[redacted]', stringData: '[redacted]' }]);
    assert.equal(line?.bytes, '[6 bytes]');
  });

  it('keeps names that merely sound like secrets', () => {
    const { logger, lines } = capture();
    logger.info('m', { secretName: 'creds', kind: 'SealedSecret', database: 'd', metadata: { a: 'b' } });
    const [{ secretName, kind, database, metadata } = {}] = lines();
    assert.deepEqual(
      { secretName, kind, database, metadata },
      { secretName: 'creds', kind: 'SealedSecret', database: 'd', metadata: { a: 'b' } },
    );
  });

  it('takes credentials out of URLs in messages, fields and errors', () => {
    const { logger, written } = capture();
    const url = 'https://user:s3cret@git.example.com/a.git';
    logger.info(`cloning ${url}`, { url, parsed: new URL(url), error: new Error(`cannot reach ${url}`) });
    assert.ok(!written.join('').includes('s3cret'));
    assert.ok(written.join('').includes('git.example.com/a.git'));
  });

  it('never throws, whatever it is given', () => {
    const { logger, lines } = capture();
    const cycle: Record<string, unknown> = { name: 'x', big: 1n, call: () => {}, none: undefined };
    cycle.self = cycle;
    logger.info('cycle', cycle);
    logger.info('getter', {
      get broken(): never {
        throw new Error('no');
      },
    });
    assert.deepEqual(
      lines().map((line) => line.msg),
      ['cycle', 'getter'],
    );
  });

  it('is text for people where asked', () => {
    const { logger, written } = capture({ encoding: 'console' });
    logger.child({ name: 'apps' }).info('finished', { error: 'two words', token: 's3cret' });
    assert.match(
      written[0] ?? '',
      /^\d{4}-\S+Z\tinfo\tfinished\tname=apps error="two words" token="?\[redacted\]"?\n$/,
    );
  });
});
