/** The part of a CustomResourceDefinition that the generators read. */

/** An OpenAPI v3 schema as far as our CRDs use it (the structural subset of Kubernetes). */
export interface Schema {
  type?: 'object' | 'array' | 'string' | 'boolean' | 'integer';
  description?: string;
  properties?: Record<string, Schema>;
  additionalProperties?: Schema;
  items?: Schema;
  required?: string[];
  enum?: string[];
  default?: unknown;
  format?: string;
  pattern?: string;
  minimum?: number;
  minLength?: number;
  maxLength?: number;
  nullable?: boolean;
  'x-kubernetes-preserve-unknown-fields'?: boolean;
  'x-kubernetes-validations'?: { rule: string; message: string }[];
}

/** A CRD with one served version. */
export interface Definition {
  metadata: { name: string };
  spec: {
    group: string;
    names: { kind: string; plural: string; shortNames?: string[] };
    versions: { name: string; schema: { openAPIV3Schema: Schema } }[];
  };
}

/** The one version's name and schema. Throws when there isn't exactly one: the generators would have to choose. */
export function onlyVersion(definition: Definition): { name: string; schema: Schema } {
  const [version, ...others] = definition.spec.versions;
  if (version === undefined || others.length > 0) {
    throw new Error(`${definition.metadata.name}: expected exactly one version`);
  }
  return { name: version.name, schema: version.schema.openAPIV3Schema };
}

/** The schema at a property. Throws, naming it, when it isn't there. */
export function property(schema: Schema, name: string): Schema {
  const found = schema.properties?.[name];
  if (found === undefined) throw new Error(`schema has no property ${name}`);
  return found;
}
