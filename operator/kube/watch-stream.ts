/** From the bytes of a watch to parsed events. */

import type { StoredObject } from '../api/objects.ts';
import { apiErrorFrom, IdleTimeout, type StatusBody, TransportError } from './errors.ts';
import type { OpenStream } from './transport.ts';

/** One change. A BOOKMARK's object has only its `metadata.resourceVersion` (and annotations). */
export interface WatchEvent<T extends StoredObject = StoredObject> {
  type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  object: T;
}

const NEWLINE = 0x0a;

/**
 * The events of an open watch, each parsed before it is yielded. Ends when the server closes cleanly; throws
 * `ApiError` for an ERROR event (410 among them), `IdleTimeout` after `idleTimeoutMs` without a byte,
 * `TransportError` when the connection breaks or a line isn't JSON, the signal's reason on abort.
 * The connection is gone when iteration ends, however it ends. `call` names the watch in errors.
 */
export async function* watchEvents(o: {
  stream: OpenStream;
  idleTimeoutMs: number;
  signal: AbortSignal;
  call: string;
}): AsyncGenerator<WatchEvent, void, undefined> {
  const { stream, signal, call } = o;
  const chunks = stream.body[Symbol.asyncIterator]();
  try {
    signal.throwIfAborted();
    const lines = new LineSplitter();
    for (;;) {
      const chunk = await nextChunk(chunks, o);
      if (chunk === undefined) return;
      for (const line of lines.push(chunk)) yield parseEvent(line, call);
      signal.throwIfAborted();
    }
  } finally {
    stream.abort();
  }
}

/** The idle guard runs only while waiting for the server, so a slow consumer doesn't look like a silent peer. */
async function nextChunk(
  chunks: AsyncIterator<Buffer>,
  o: { stream: OpenStream; idleTimeoutMs: number; signal: AbortSignal; call: string },
): Promise<Buffer | undefined> {
  let silent = false;
  const abort = () => o.stream.abort();
  const timer = setTimeout(() => {
    silent = true;
    abort();
  }, o.idleTimeoutMs);
  o.signal.addEventListener('abort', abort, { once: true });
  try {
    const next = await chunks.next();
    if (next.done !== true) return next.value;
  } catch (error) {
    if (!silent && !o.signal.aborted) {
      const { code, message } = error as NodeJS.ErrnoException;
      throw new TransportError(`${o.call}: ${message}`, { code, cause: error });
    }
  } finally {
    clearTimeout(timer);
    o.signal.removeEventListener('abort', abort);
  }
  o.signal.throwIfAborted();
  if (silent) throw new IdleTimeout(`${o.call}: nothing received for ${o.idleTimeoutMs} ms`);
  return undefined;
}

/** Cuts bytes into lines; what follows the last newline waits for the next chunk. */
class LineSplitter {
  #pending: Buffer[] = [];

  *push(chunk: Buffer): Generator<string> {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      const line = this.#take(chunk.subarray(start, end));
      start = end + 1;
      if (line !== '') yield line;
    }
    if (start < chunk.length) this.#pending.push(chunk.subarray(start));
  }

  #take(tail: Buffer): string {
    if (this.#pending.length === 0) return tail.toString('utf8');
    const line = Buffer.concat([...this.#pending, tail]).toString('utf8');
    this.#pending = [];
    return line;
  }
}

function parseEvent(line: string, call: string): WatchEvent {
  let event: { type: string; object: StoredObject };
  try {
    event = JSON.parse(line) as { type: string; object: StoredObject };
  } catch (error) {
    throw new TransportError(`${call}: an event is not JSON`, { cause: error });
  }
  if (event.type === 'ERROR') {
    const body = event.object as unknown as StatusBody;
    throw apiErrorFrom({ status: body.code ?? 500, body, fallback: `${call}: ended by an error` });
  }
  return event as WatchEvent;
}
