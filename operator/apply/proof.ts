/**
 * Proof, not comparison. Desired state is never compared with live state: defaults, quantities, set-lists and
 * webhooks make that wrong. An object is *proven* equal to Git by the answer to an apply (or to a dry-run that
 * changed nothing), and remembered is what of that answer a later event can be held against: which fields are
 * ours, and a digest of the live values at exactly those. An event that agrees costs nothing; one that doesn't
 * gets an apply, and the API server decides.
 *
 * Pure functions of their arguments. Digests are HMACs under a key of the process: they say nothing about a
 * Secret's values to whoever reads them elsewhere.
 */

import { createHmac } from 'node:crypto';
import {
  ABSORBED_MANAGER_PREFIX,
  APPLY_FIELD_MANAGER,
  BEFORE_FIRST_APPLY_MANAGER,
  OBSOLETE_ANNOTATIONS,
  OBSOLETE_LABELS,
} from '../api/names.ts';
import type { JsonObject, KubeObject, ManagedFieldsEntry, StoredObject } from '../api/objects.ts';
import { isLeftAlone, isMerged, type Owner, ownerOf } from './controls.ts';
import { describeValues } from './field-set.ts';

/** What drift detection keeps of a live object: a function of that object alone, some 200 bytes. */
export interface Observation {
  readonly uid: string;
  /** Opaque; compared only for equality. */
  readonly resourceVersion: string;
  readonly owner: Owner | undefined;
  /** A deletion has begun. */
  readonly deleting: boolean;
  /** Of our own field set. */
  readonly fieldsDigest: string;
  /** Of the live values at that field set. */
  readonly valuesDigest: string;
  /** Field managers whose fields a take-over turns into ours. */
  readonly absorbable: readonly string[];
  /** Annotations or labels of client-side apply and Flux v1 are there to be removed. */
  readonly obsolete: boolean;
  /** A live control says to leave the object alone (`reconcile: disabled`, `ssa: Ignore`). */
  readonly leftAlone: boolean;
  /** A live control says to keep kubectl's fields (`ssa: Merge`). */
  readonly merged: boolean;
}

/** What a desired object's last apply (or its dry-run that changed nothing) proved. */
export interface Proof {
  readonly fieldsDigest: string;
  readonly valuesDigest: string;
  /** Foreign fields are welcome (`ssa: Merge`): a take-over is never due. */
  readonly merged: boolean;
  /** What even a take-over left standing, because somebody writes it again each time: fighting it would never end. */
  readonly absorbable: readonly string[];
  readonly obsolete: boolean;
}

const NONE: readonly string[] = [];

/** Digests are cut to 128 bits: plenty against chance, and an inventory may hold thousands. */
function digest(text: string, hmacKey: Buffer): string {
  return createHmac('sha256', hmacKey).update(text).digest().toString('base64url', 0, 16);
}

/** Our entry: what we have applied. */
export function isOurs(entry: ManagedFieldsEntry): boolean {
  return (
    entry.manager === APPLY_FIELD_MANAGER && entry.operation === 'Apply' && (entry.subresource ?? '') === ''
  );
}

/**
 * True for entries whose fields give way to Git: kubectl's of any kind, those from before the first apply, and
 * ours by Update. Never a subresource's (a scale, a status).
 */
export function isAbsorbable(entry: ManagedFieldsEntry): boolean {
  if ((entry.subresource ?? '') !== '') return false;
  const manager = entry.manager ?? '';
  if (manager.startsWith(ABSORBED_MANAGER_PREFIX)) return true;
  return (
    entry.operation === 'Update' &&
    (manager === BEFORE_FIRST_APPLY_MANAGER || manager === APPLY_FIELD_MANAGER)
  );
}

/** True when annotations or labels are there that a take-over removes. */
export function hasObsoleteMetadata(metadata: KubeObject['metadata']): boolean {
  return (
    OBSOLETE_ANNOTATIONS.some((name) => metadata.annotations?.[name] !== undefined) ||
    OBSOLETE_LABELS.some((name) => metadata.labels?.[name] !== undefined)
  );
}

/** Observes a live object. Doesn't keep a reference to it. */
export function observe(object: StoredObject, hmacKey: Buffer): Observation {
  const { metadata } = object;
  const entries = metadata.managedFields ?? [];
  const ours = entries.filter(isOurs);
  const values = ours.map((entry) => describeValues(entry.fieldsV1 ?? {}, object));
  const absorbable = entries.filter(isAbsorbable).map((entry) => entry.manager ?? '');
  return {
    uid: metadata.uid,
    resourceVersion: metadata.resourceVersion,
    owner: ownerOf(metadata),
    deleting: metadata.deletionTimestamp !== undefined,
    fieldsDigest: digest(
      JSON.stringify(
        ours.map(
          ({ apiVersion, fieldsV1 }): JsonObject => ({
            apiVersion: apiVersion ?? '',
            fieldsV1: fieldsV1 ?? {},
          }),
        ),
      ),
      hmacKey,
    ),
    valuesDigest: digest(values.join('\n'), hmacKey),
    absorbable: absorbable.length === 0 ? NONE : [...new Set(absorbable)],
    obsolete: hasObsoleteMetadata(metadata),
    leftAlone: isLeftAlone(metadata),
    merged: isMerged(metadata),
  };
}

/** Digest of a desired object's JSON text. */
export function digestDesired(json: string, hmacKey: Buffer): string {
  return digest(json, hmacKey);
}

/** True when a take-over is due: somebody else's fields or leftovers stand where Git should. */
export function needsTakeOver(
  observation: Observation,
  accepted: Pick<Proof, 'merged' | 'absorbable' | 'obsolete'>,
): boolean {
  if (accepted.merged || observation.merged) return false;
  return (
    (observation.obsolete && !accepted.obsolete) ||
    observation.absorbable.some((manager) => !accepted.absorbable.includes(manager))
  );
}

/** What is accepted of a desired object before anything is known of it. `merged`: Git's own `ssa: Merge`. */
export function acceptedAtFirst(merged: boolean): Pick<Proof, 'merged' | 'absorbable' | 'obsolete'> {
  return { merged, absorbable: NONE, obsolete: false };
}

/** The proof that an answer of the API server gives. `merged`: Git's own `ssa: Merge`. */
export function proofOf(observation: Observation, merged: boolean): Proof {
  const { fieldsDigest, valuesDigest, absorbable, obsolete } = observation;
  return { fieldsDigest, valuesDigest, merged, absorbable, obsolete };
}

/** True when two observations agree about our fields: which they are and what they hold. */
export function sameFields(
  a: Pick<Observation, 'fieldsDigest' | 'valuesDigest'>,
  b: Pick<Observation, 'fieldsDigest' | 'valuesDigest'>,
): boolean {
  return a.fieldsDigest === b.fieldsDigest && a.valuesDigest === b.valuesDigest;
}

/** True when the observed object is still what the proof was taken from, as far as Git has a say. */
export function agrees(proof: Proof, observation: Observation): boolean {
  return !observation.deleting && sameFields(proof, observation) && !needsTakeOver(observation, proof);
}
