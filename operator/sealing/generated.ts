/**
 * Values that are generated (`now`, `uuidv4`, `genCA` …): rendered when the SealedSecret's spec changes or the key is
 * missing, otherwise the live value stays, over restarts too. What they were generated from is remembered on the
 * Secret, as a digest of the spec: ciphertext and templates, never plaintext.
 */

import { createHash } from 'node:crypto';
import { GENERATED_FROM_ANNOTATION } from '../api/names.ts';
import type { KubeObject, StoredObject } from '../api/objects.ts';
import type { SealedSecretSpec } from '../api/sealed-secret.gen.ts';

/**
 * The Secret as it should be, its generated values taken from the live one where they are to stay. `settled`: the
 * SealedSecret's status says that this very spec was unsealed before, which is how a Secret made by Sealed Secrets (it
 * remembers nothing) keeps its values.
 */
export function keepGenerated(o: {
  desired: KubeObject;
  generated: ReadonlySet<string>;
  existing: StoredObject | undefined;
  spec: SealedSecretSpec;
  settled: boolean;
}): KubeObject {
  const { desired, generated, existing } = o;
  if (generated.size === 0) return desired;
  const digest = digestOf(o.spec);
  const remembered = existing?.metadata.annotations?.[GENERATED_FROM_ANNOTATION];
  const live = new Map(Object.entries((existing?.data ?? {}) as Record<string, string>));
  const stays = remembered === undefined ? o.settled : remembered === digest;
  const data = Object.entries(desired.data as Record<string, string>).map(
    ([key, value]): [string, string] => [
      key,
      (stays && generated.has(key) ? live.get(key) : undefined) ?? value,
    ],
  );
  const { metadata } = desired;
  return {
    ...desired,
    metadata: { ...metadata, annotations: { ...metadata.annotations, [GENERATED_FROM_ANNOTATION]: digest } },
    data: Object.fromEntries(data),
  };
}

function digestOf(spec: SealedSecretSpec): string {
  return `sha256:${createHash('sha256').update(JSON.stringify(spec, inOrder)).digest('hex')}`;
}

/** Objects with their keys in order, so that equal specs have one text. */
function inOrder(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
