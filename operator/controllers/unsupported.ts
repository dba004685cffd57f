/** Refuses what a CRD accepts but this version can't do yet, rather than leave it out in silence. */

/** A field of a spec, and whether an object uses it. */
export interface UnsupportedField<Spec> {
  field: string;
  used: (spec: Spec) => boolean;
}

/** The message that refuses the first unsupported field in use; `undefined` when there is none. */
export function unsupportedMessage<Spec>(
  spec: Spec,
  fields: readonly UnsupportedField<Spec>[],
): string | undefined {
  const found = fields.find(({ used }) => used(spec));
  return found && `spec.${found.field} isn't supported by this version of Signet; remove it from the object`;
}
