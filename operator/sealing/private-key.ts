/** RSA private-key operations on libuv's thread pool, so that decrypting never blocks the event loop. */

import { createPrivateKey, createPublicKey, type KeyObject, type webcrypto } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { fingerprintOf } from './fingerprint.ts';
import type { OpeningKey } from './hybrid.ts';

/** Leaves one of libuv's four threads to files and DNS. */
const MAX_LANES = 3;

/**
 * Bounds how many private-key operations run at once over all keys, in order of arrival. Each holds a lane
 * number meanwhile: WebCrypto serialises the operations of one imported key, so every key is imported once
 * per lane. (Measured with 4096 bits on four cores: one copy 590 a second, two 1,190, four 2,370, the same
 * as worker threads at 12 MB instead of 150 MB more memory.)
 */
export class PrivateKeyLanes {
  readonly count: number;
  readonly #free: number[];
  readonly #waiting: Array<(lane: number) => void> = [];

  /** `count` lanes; the default is the machine's cores, at most three. */
  constructor(count: number = Math.min(MAX_LANES, availableParallelism())) {
    this.count = count;
    this.#free = Array.from({ length: count }, (_, lane) => lane);
  }

  /** Runs `work` as soon as a lane is free. Rejects with the signal's reason if it aborts before that. */
  async run<T>(work: (lane: number) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const lane = await this.#acquire(signal);
    try {
      return await work(lane);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free.push(lane);
      else next(lane);
    }
  }

  async #acquire(signal: AbortSignal | undefined): Promise<number> {
    signal?.throwIfAborted();
    const lane = this.#free.pop();
    if (lane !== undefined) return lane;
    return await new Promise<number>((resolve, reject) => {
      const granted = (next: number) => {
        signal?.removeEventListener('abort', aborted);
        resolve(next);
      };
      const aborted = () => {
        this.#waiting.splice(this.#waiting.indexOf(granted), 1);
        reject(signal?.reason);
      };
      signal?.addEventListener('abort', aborted, { once: true });
      this.#waiting.push(granted);
    });
  }
}

/** An RSA private key that opens RSA-OAEP (SHA-256) blocks off the main thread. Holds no key bytes in JavaScript. */
export class PrivateKey implements OpeningKey {
  readonly fingerprint: string;
  readonly publicKey: KeyObject;
  readonly #modulusBytes: number;
  readonly #lanes: PrivateKeyLanes;
  readonly #copies: webcrypto.CryptoKey[];

  /** Assumes an RSA private key (`asymmetricKeyType` of `rsa`). */
  constructor(key: KeyObject, lanes: PrivateKeyLanes) {
    this.publicKey = createPublicKey(key);
    this.fingerprint = fingerprintOf(this.publicKey);
    this.#modulusBytes = Math.ceil((key.asymmetricKeyDetails?.modulusLength ?? 0) / 8);
    this.#lanes = lanes;
    const der = key.export({ type: 'pkcs8', format: 'der' });
    this.#copies = Array.from({ length: lanes.count }, () =>
      createPrivateKey({ key: der, type: 'pkcs8', format: 'der' }).toCryptoKey(
        { name: 'RSA-OAEP', hash: 'SHA-256' },
        false,
        ['decrypt'],
      ),
    );
    der.fill(0);
  }

  /** See {@link OpeningKey}. Rejects only when the signal aborts while it waits for a lane. */
  async openBlock(block: Buffer, label: Buffer, signal?: AbortSignal): Promise<Uint8Array | undefined> {
    if (block.length > this.#modulusBytes) return undefined;
    // Go accepts a block whose leading zero bytes were stripped; OpenSSL wants the modulus' length.
    const padded = Buffer.alloc(this.#modulusBytes);
    block.copy(padded, this.#modulusBytes - block.length);
    return await this.#lanes.run(async (lane) => {
      const key = this.#copies[lane];
      if (key === undefined) return undefined;
      try {
        return new Uint8Array(await crypto.subtle.decrypt({ name: 'RSA-OAEP', label }, key, padded));
      } catch {
        return undefined;
      }
    }, signal);
  }
}
