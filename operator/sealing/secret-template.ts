/** `spec.template.data`: what becomes of templates and decrypted items together. */

import type { SealedSecret } from '../api/sealed-secret.gen.ts';
import type { Opened } from './hybrid.ts';
import { describeFailures, type Failure } from './items.ts';
import type { TemplateRenderer } from './template-engine.ts';
import { UnsealError } from './unseal-error.ts';

/**
 * The Secret's data in base64, and which of its keys are generated (sealed-secrets 0.40.0):
 *
 *   templates see    decrypted items, and the raw text of other templates; an item wins over a text of its name
 *   output           items, and what templates render; an item wins here too, but its template must render all the same
 *   a null template  leaves its key out of the output; an item of that name is still seen by templates
 *
 * Throws {@link UnsealError} naming key and position of every template that fails.
 */
export async function renderTemplates(o: {
  sealedSecret: SealedSecret;
  opened: ReadonlyMap<string, Opened>;
  templates: TemplateRenderer;
  signal?: AbortSignal | undefined;
}): Promise<{ data: Record<string, string>; generated: Set<string> }> {
  const { texts, omitted } = readTemplates(o.sealedSecret);
  const items = new Map(Array.from(o.opened, ([item, { plaintext }]) => [item, plaintext]));
  const output = new Map(items);
  const generated = new Set<string>();
  if (texts.size > 0) {
    const raw = Array.from(texts, ([key, text]): [string, Buffer] => [key, Buffer.from(text)]);
    const request = { data: new Map([...raw, ...items]), templates: texts, signal: o.signal };
    const results = await o.templates.render(request);
    const failures: Failure[] = [];
    for (const [key, result] of results) {
      if ('failure' in result) failures.push([key, result.failure]);
      if ('failure' in result || items.has(key)) continue;
      output.set(key, result.value);
      if (result.generated) generated.add(key);
    }
    if (failures.length > 0) throw new UnsealError(describeFailures(failures));
  }
  for (const key of omitted) output.delete(key);
  const data = Array.from(output, ([key, value]): [string, string] => [key, value.toString('base64')]);
  return { data: Object.fromEntries(data), generated };
}

function readTemplates({ spec }: SealedSecret): { texts: Map<string, string>; omitted: string[] } {
  const texts = new Map<string, string>();
  const omitted: string[] = [];
  for (const [key, text] of Object.entries<unknown>(spec.template?.data ?? {})) {
    if (text === null) omitted.push(key);
    else if (typeof text === 'string') texts.set(key, text);
    else throw new UnsealError(`spec.template.data.${key} must be a string`);
  }
  return { texts, omitted };
}
