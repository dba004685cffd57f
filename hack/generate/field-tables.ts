/** From CRDs to docs/api.md: one table of fields a kind. */

import { type Definition, onlyVersion, property, type Schema } from './schema.ts';

const HEAD = `<!-- Generated from crds/ by \`npm run generate\`: change the CRDs instead. -->

# API reference

Every field of the kinds that Signet serves, as \`kubectl explain\` shows them too.
Required fields are marked with \`*\`; \`[]\` stands for each item of a list, \`{}\` for each value of a map.
A field being here means that the API server accepts it. What each does is on the kind's own page under \`docs/spec/\`.
`;

/** The text of docs/api.md. Same input, same text. */
export function renderFieldTables(definitions: readonly Definition[]): string {
  return [HEAD, ...definitions.map(renderKind)].join('\n');
}

function renderKind(definition: Definition): string {
  const { kind, shortNames = [] } = definition.spec.names;
  const { name, schema } = onlyVersion(definition);
  const short = shortNames.length === 0 ? '' : `, short name ${shortNames.map(code).join(', ')}`;
  const sections = ['spec', 'status'].map((part) => {
    const rows: string[] = [];
    addRows('', property(schema, part), rows);
    return `### ${kind} ${part}\n\n| field | type | accepted | meaning |\n| --- | --- | --- | --- |\n${rows.join('\n')}\n`;
  });
  return [
    `## ${kind}\n`,
    `${code(`${definition.spec.group}/${name}`)}${short}. ${schema.description ?? ''}\n`,
    ...sections,
  ].join('\n');
}

function addRows(path: string, schema: Schema, rows: string[]): void {
  const required = new Set(schema.required);
  for (const [field, of] of Object.entries(schema.properties ?? {})) {
    addRow(`${path}${field}`, required.has(field), of, rows);
  }
}

function addRow(path: string, required: boolean, schema: Schema, rows: string[]): void {
  const cells = [
    `${code(path)}${required ? ' *' : ''}`,
    typeName(schema),
    accepted(schema),
    schema.description ?? '',
  ];
  rows.push(`| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`);
  addRows(`${path}.`, schema, rows);
  const inner = schema.items ?? schema.additionalProperties;
  if (inner !== undefined) addRows(`${path}${schema.items === undefined ? '{}' : '[]'}.`, inner, rows);
}

function typeName(schema: Schema): string {
  if (schema.items !== undefined) return `list of ${typeName(schema.items)}`;
  if (schema.additionalProperties !== undefined) return `map of ${typeName(schema.additionalProperties)}`;
  const nullable = schema.nullable === true ? ' or null' : '';
  return `${schema.format === 'date-time' ? 'time' : schema.type}${nullable}`;
}

function accepted(schema: Schema): string {
  const facts: string[] = [];
  if (schema.default !== undefined) facts.push(`default ${code(JSON.stringify(schema.default))}`);
  const choices = schema.enum ?? schema.items?.enum;
  if (choices !== undefined) facts.push(choices.map(code).join(', '));
  if (schema.pattern !== undefined) facts.push(code(schema.pattern));
  if (schema.minimum !== undefined) facts.push(`at least ${schema.minimum}`);
  if (schema.maxLength !== undefined)
    facts.push(`${schema.minLength ?? 0} to ${schema.maxLength} characters`);
  for (const { message } of schema['x-kubernetes-validations'] ?? []) facts.push(message);
  return facts.join('; ');
}

function code(text: string): string {
  return `\`${text}\``;
}
