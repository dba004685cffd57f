/** An artifact from another server, with its digest checked. */

import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { ArtifactUnavailable, messageOf } from './errors.ts';

const ATTEMPTS = 4;
const FIRST_PAUSE_MS = 250;
const ATTEMPT_TIMEOUT_MS = 60_000;

/**
 * Downloads `url` into `file` and answers its digest as `<algorithm>:<hex>`. A server that doesn't answer, or says 5xx
 * or 429, is asked again a few times.
 * @throws ArtifactUnavailable `not found` (404, 410), `too large`, `unreachable`; the signal's reason when aborted.
 */
export async function download(o: {
  url: string;
  file: string;
  algorithm: string;
  maxBytes: number;
  signal: AbortSignal;
}): Promise<string> {
  if (!/^https?:\/\//.test(o.url))
    throw new ArtifactUnavailable('unreachable', 'the artifact has no http(s) URL');
  for (let attempt = 1; ; attempt++) {
    try {
      return await downloadOnce(o);
    } catch (error) {
      o.signal.throwIfAborted();
      const unavailable = asUnavailable(error, o.url);
      if (unavailable.problem !== 'unreachable' || attempt === ATTEMPTS) throw unavailable;
      await sleep(FIRST_PAUSE_MS * 2 ** (attempt - 1), undefined, { signal: o.signal });
    }
  }
}

async function downloadOnce(o: Parameters<typeof download>[0]): Promise<string> {
  const signal = AbortSignal.any([o.signal, AbortSignal.timeout(ATTEMPT_TIMEOUT_MS)]);
  const response = await fetch(o.url, {
    signal,
    redirect: 'error',
    headers: { 'accept-encoding': 'identity' },
  });
  if (!response.ok || response.body === null) {
    await response.body?.cancel();
    const problem = response.status === 404 || response.status === 410 ? 'not found' : 'unreachable';
    const detail = problem === 'not found' ? 'artifact not found' : `the server answered ${response.status}`;
    throw new ArtifactUnavailable(problem, `${detail} (${o.url})`);
  }
  const hash = createHash(o.algorithm);
  let totalBytes = 0;
  await pipeline(
    Readable.fromWeb(response.body),
    async function* (chunks: AsyncIterable<Uint8Array>) {
      for await (const chunk of chunks) {
        totalBytes += chunk.length;
        if (totalBytes > o.maxBytes)
          throw new ArtifactUnavailable(
            'too large',
            `the artifact is larger than ${o.maxBytes} bytes (${o.url})`,
          );
        hash.update(chunk);
        yield chunk;
      }
    },
    createWriteStream(o.file, { mode: 0o600 }),
    { signal },
  );
  return `${o.algorithm}:${hash.digest('hex')}`;
}

function asUnavailable(error: unknown, url: string): ArtifactUnavailable {
  if (error instanceof ArtifactUnavailable) return error;
  const cause = error instanceof Error && error.cause !== undefined ? `: ${messageOf(error.cause)}` : '';
  return new ArtifactUnavailable('unreachable', `cannot download ${url}: ${messageOf(error)}${cause}`, {
    cause: error,
  });
}
