/**
 * What enqueues an object, as data: each kind's predicate is a list of named questions about an object before
 * and after a watch event. Never status: a controller that is woken by its own status writes runs for ever.
 * An object that is new to the store ("added", in the first list or later) is always enqueued.
 */

import { RECONCILE_REQUEST_ANNOTATION } from '../api/names.ts';
import type { StoredObject } from '../api/objects.ts';

/** True when the change from `previous` to `current` asks for a pass. */
export type EnqueuePredicate<T extends Pick<StoredObject, 'metadata'> = StoredObject> = (
  previous: T,
  current: T,
) => boolean;

type Metadata = Pick<StoredObject, 'metadata'>;

/** True when any of the questions is answered with yes. */
export function anyOf<T extends Metadata>(...predicates: EnqueuePredicate<T>[]): EnqueuePredicate<T> {
  return (previous, current) => predicates.some((predicate) => predicate(previous, current));
}

/** The spec changed. */
export function generationChanged(previous: Metadata, current: Metadata): boolean {
  return previous.metadata.generation !== current.metadata.generation;
}

/** Deleted and created again under the same name, unseen. */
export function replaced(previous: Metadata, current: Metadata): boolean {
  return previous.metadata.uid !== current.metadata.uid;
}

/** `flux reconcile` asked: the annotation has another value, whichever. */
export function reconcileRequested(previous: Metadata, current: Metadata): boolean {
  const requested = current.metadata.annotations?.[RECONCILE_REQUEST_ANNOTATION];
  return (
    requested !== undefined && requested !== previous.metadata.annotations?.[RECONCILE_REQUEST_ANNOTATION]
  );
}

/** The object is now to be deleted. */
export function deletionBegan(previous: Metadata, current: Metadata): boolean {
  return (
    previous.metadata.deletionTimestamp === undefined && current.metadata.deletionTimestamp !== undefined
  );
}

/** Our finalizer has come (the pass that added it ended there) or gone (someone took it off). */
export function finalizerChanged(finalizer: string): EnqueuePredicate<Metadata> {
  return (previous, current) => hasFinalizer(previous, finalizer) !== hasFinalizer(current, finalizer);
}

/** Some label or annotation was added, removed or got another value. */
export function metadataChanged(previous: Metadata, current: Metadata): boolean {
  return (
    !sameMap(previous.metadata.labels, current.metadata.labels) ||
    !sameMap(previous.metadata.annotations, current.metadata.annotations)
  );
}

function sameMap(a: Record<string, string> = {}, b: Record<string, string> = {}): boolean {
  const entries = Object.entries(a);
  return entries.length === Object.keys(b).length && entries.every(([key, value]) => b[key] === value);
}

/** The questions that every kind asks; `finalizer` where it has one. */
export function ownChange(finalizer?: string): EnqueuePredicate<Metadata> {
  return anyOf(
    generationChanged,
    replaced,
    reconcileRequested,
    deletionBegan,
    ...(finalizer === undefined ? [] : [finalizerChanged(finalizer)]),
  );
}

/** True when the object carries the finalizer. */
export function hasFinalizer(object: Metadata, finalizer: string): boolean {
  return object.metadata.finalizers?.includes(finalizer) ?? false;
}
