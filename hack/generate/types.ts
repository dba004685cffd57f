/**
 * From a CRD to the TypeScript types of its spec and status.
 *
 * Own code instead of json-schema-to-typescript, because that one knows neither `nullable` nor
 * `x-kubernetes-preserve-unknown-fields` and opens every object to unknown keys of unknown type.
 */

import { type Definition, onlyVersion, property, type Schema } from './schema.ts';

/** The text of `<kind>.gen.ts`. `source` is the CRD's path, named in the head. Same input, same text. */
export function renderTypes(definition: Definition, source: string): string {
  const { kind } = definition.spec.names;
  const { schema } = onlyVersion(definition);
  const interfaces: string[] = [];
  for (const part of ['spec', 'status']) {
    declare(`${kind}${capitalise(part)}`, property(schema, part), interfaces);
  }
  const body = interfaces.join('\n');
  const imports = ['Condition', 'CustomResource', 'JsonObject'].filter(
    (name) => name === 'CustomResource' || new RegExp(`: ${name}\\b`).test(body),
  );
  return [
    `// Generated from ${source} by \`npm run generate\`: change that file instead.\n`,
    `import type { ${imports.join(', ')} } from './objects.ts';\n`,
    comment(schema, ''),
    `export type ${kind} = CustomResource<${kind}Spec, ${kind}Status>;\n`,
    body,
  ].join('\n');
}

/** Adds the interface of an object schema, then those of the objects in it, so that a reader meets the whole first. */
function declare(name: string, schema: Schema, interfaces: string[]): void {
  const place = interfaces.push('') - 1;
  const required = new Set(schema.required);
  const fields = Object.entries(schema.properties ?? {}).map(([field, of]) => {
    const type = typeOf(`${name}${capitalise(field)}`, field, of, interfaces);
    return `${comment(of, '  ')}\n  ${field}${required.has(field) ? '' : '?'}: ${type};`;
  });
  interfaces[place] = `${comment(schema, '')}\nexport interface ${name} {\n${fields.join('\n')}\n}\n`;
}

function typeOf(name: string, field: string, schema: Schema, interfaces: string[]): string {
  const type = bareTypeOf(name, field, schema, interfaces);
  return schema.nullable === true ? `${type} | null` : type;
}

function bareTypeOf(name: string, field: string, schema: Schema, interfaces: string[]): string {
  switch (schema.type) {
    case 'boolean':
      return 'boolean';
    case 'integer':
      return 'number';
    case 'string':
      return schema.enum?.map((value) => `'${value}'`).join(' | ') ?? 'string';
    case 'array':
      // The Kubernetes convention has one type for all kinds, and what merges conditions is shared too.
      if (field === 'conditions') return 'Condition[]';
      return arrayOf(typeOf(`${name}Item`, '', schema.items ?? {}, interfaces));
    case 'object':
      if (schema.additionalProperties !== undefined) {
        return `Record<string, ${typeOf(`${name}Value`, '', schema.additionalProperties, interfaces)}>`;
      }
      if (schema.properties === undefined) return 'JsonObject';
      declare(name, schema, interfaces);
      return name;
    default:
      throw new Error(`${name}: a schema without a type`);
  }
}

function arrayOf(type: string): string {
  return type.includes(' ') ? `(${type})[]` : `${type}[]`;
}

function comment(schema: Schema, indent: string): string {
  const defaultText = schema.default === undefined ? '' : ` Default: ${JSON.stringify(schema.default)}.`;
  const text = `${schema.description ?? ''}${defaultText}`.replaceAll('*/', '*\\/');
  return `${indent}/** ${text} */`;
}

function capitalise(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
