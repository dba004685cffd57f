/**
 * One pass over one object: the facts it records and their way to the API server.
 *
 * Facts are never lost: they are written at checkpoints and at the end; when the object has changed meanwhile
 * (409) they are written onto the object as it is by then; when the API server can't be reached they stay in
 * {@link Pass.unwritten}, for the next pass to begin with.
 */

import { RECONCILE_REQUEST_ANNOTATION } from '../api/names.ts';
import type { CustomResource } from '../api/objects.ts';
import { isConflict, isNotFound } from '../kube/errors.ts';
import {
  type ConditionFact,
  type ConditionPolicy,
  needsAnnouncement,
  type Standing,
  summarize,
} from './condition-policy.ts';
import type { Facts } from './reconciler.ts';

/** How a pass reaches the API server. */
export interface StatusPort<Spec, Status> {
  /** Writes the status unless it is what the object has; answers the object as written, `undefined` if equal. */
  save(
    object: CustomResource<Spec, Status>,
    status: Status,
  ): Promise<CustomResource<Spec, Status> | undefined>;
  /** The object as the API server has it now; `undefined` when it is gone. */
  read(object: CustomResource<Spec, Status>): Promise<CustomResource<Spec, Status> | undefined>;
}

/** The object went away (or another took its name) during the pass: there is nothing left to write to. */
export class ObjectGone extends Error {
  override readonly name = 'ObjectGone';
  constructor() {
    super('the object was deleted during the pass');
  }
}

/** Conflicts in a row after which a write gives up: its facts then wait for the next pass. */
const MOST_CONFLICTS = 5;

/** See the head of this file. Writes are done one after the other, whoever asks. */
export class Pass<Spec, Status> {
  readonly #policy: ConditionPolicy<Status>;
  readonly #port: StatusPort<Spec, Status>;
  readonly #generation: number;
  readonly #requestedAt: string | undefined;
  #object: CustomResource<Spec, Status>;
  #facts: Map<string, unknown>;
  #unwritten: boolean;
  #gone = false;
  #progress: { reason: string; message: string } | undefined;
  readonly #claims = new Map<string, ConditionFact | undefined>();
  #writes: Promise<void> = Promise.resolve();

  constructor(o: {
    object: CustomResource<Spec, Status>;
    policy: ConditionPolicy<Status>;
    port: StatusPort<Spec, Status>;
    /** Facts that an earlier pass couldn't write. */
    owed?: ReadonlyMap<string, unknown> | undefined;
  }) {
    this.#policy = o.policy;
    this.#port = o.port;
    this.#object = o.object;
    this.#generation = o.object.metadata.generation ?? 0;
    this.#requestedAt = o.object.metadata.annotations?.[RECONCILE_REQUEST_ANNOTATION];
    this.#facts = new Map(o.owed);
    this.#unwritten = this.#facts.size > 0;
  }

  /** The object with every fact known, as the reconciler shall see it. */
  get object(): CustomResource<Spec, Status> {
    if (this.#facts.size === 0) return this.#object;
    return { ...this.#object, status: this.#withFacts(this.#object.status) };
  }

  /** Facts that the API server may not have; `undefined` when it has them all. */
  get unwritten(): ReadonlyMap<string, unknown> | undefined {
    return this.#unwritten ? this.#facts : undefined;
  }

  /** A write found the object gone. */
  get gone(): boolean {
    return this.#gone;
  }

  /** See `ReconcileContext.record`. */
  record(facts: Facts<Status>): void {
    for (const [field, value] of Object.entries(facts)) {
      this.#facts.set(field, value);
      this.#unwritten = true;
    }
  }

  /** See `ReconcileContext.progress`. */
  progress(reason: string, message: string): void {
    this.#progress = { reason, message };
  }

  /** See `ReconcileContext.claim`. */
  claim(type: string, fact: ConditionFact | undefined): void {
    this.#claims.set(type, fact);
  }

  /**
   * Says that a new generation is worked on, where the kind does and it hasn't been said; and writes the facts that an
   * earlier pass couldn't. A reconciler may rely on the API server having what {@link object} shows: an inventory that
   * only this process knows would be lost with it.
   * @throws as {@link write} does
   */
  async begin(): Promise<void> {
    if (needsAnnouncement(this.#policy, this.#object.status, this.#generation)) {
      await this.write({ state: 'announced' });
    } else if (this.#unwritten) {
      await this.write({ state: 'interrupted' });
    }
  }

  /**
   * Writes facts and conditions as the pass stands.
   * @throws ObjectGone, or what the API server or the way to it answered
   */
  write(standing: Standing): Promise<void> {
    const written = this.#writes.then(() => this.#write(standing));
    this.#writes = written.catch(() => {});
    return written;
  }

  async #write(standing: Standing): Promise<void> {
    for (let conflicts = 0; ; conflicts += 1) {
      const facts = new Map(this.#facts);
      try {
        const stored = await this.#port.save(this.#object, this.#statusAt(standing));
        if (stored !== undefined) this.#object = stored;
        this.#settle(facts);
        return;
      } catch (error) {
        if (isNotFound(error)) throw this.#lost();
        if (!isConflict(error) || conflicts >= MOST_CONFLICTS) throw error;
      }
      await this.#reread();
    }
  }

  /** Nothing is unwritten, unless it was recorded while the write was under way. */
  #settle(written: ReadonlyMap<string, unknown>): void {
    const later = [...this.#facts].some(
      ([field, value]) => !written.has(field) || written.get(field) !== value,
    );
    if (!later) this.#unwritten = false;
  }

  async #reread(): Promise<void> {
    const fresh = await this.#port.read(this.#object);
    if (fresh === undefined || fresh.metadata.uid !== this.#object.metadata.uid) throw this.#lost();
    this.#object = fresh;
  }

  #lost(): ObjectGone {
    this.#gone = true;
    this.#unwritten = false;
    return new ObjectGone();
  }

  #statusAt(standing: Standing): Status {
    return summarize(this.#policy, {
      status: this.#withFacts(this.#object.status),
      generation: this.#generation,
      requestedAt: this.#requestedAt,
      standing,
      progress: this.#progress,
      claims: this.#claims,
      now: new Date().toISOString().replace(/\.\d+Z$/, 'Z'),
    });
  }

  #withFacts(status: Status | undefined): Status {
    const merged: Record<string, unknown> = { ...status };
    for (const [field, value] of this.#facts) {
      if (value === undefined || value === null) delete merged[field];
      else merged[field] = value;
    }
    return merged as Status;
  }
}
