/** Inputs for the sealing room that are broken in as many ways as chance finds; reproducible by their seed. */

import type { Json, JsonObject } from '../../operator/api/objects.ts';
import type { Random } from './random.ts';

const CHARACTERS = 'ABCZabcz0189+/=-_ \r\n\t*.\u0000é😀"\\{}';
const STRANGE: readonly Json[] = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  1e308,
  '',
  ' ',
  'true',
  'AAAA',
  '=',
  '\u0000',
  '../..',
  [],
  ['a'],
  [null],
  {},
  { a: null },
  { a: { a: [] } },
];
const STRANGE_NAMES = [
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
  '',
  ' ',
  '.',
  '..',
  'a/b',
  'é',
  'x'.repeat(300),
];

/** A text of base64's characters, and of those next to it. */
export function malformedText(random: Random, longest = 64): string {
  return Array.from({ length: random.below(longest) }, () => random.pick([...CHARACTERS])).join('');
}

/** Bytes without any meaning. */
export function randomBytes(random: Random, longest: number): Buffer {
  return Buffer.from(Array.from({ length: random.below(longest) }, () => random.below(256)));
}

/** Some JSON. */
export function strangeJson(random: Random, depth = 3): Json {
  if (depth === 0 || random.below(3) > 0)
    return random.below(8) === 0 ? malformedText(random) : structuredClone(random.pick(STRANGE));
  const inner = Array.from({ length: random.below(4) }, () => strangeJson(random, depth - 1));
  return random.below(2) === 0
    ? inner
    : Object.fromEntries(inner.map((value) => [strangeName(random), value]));
}

/** A name that programs trip over. */
export function strangeName(random: Random): string {
  return random.below(3) === 0 ? malformedText(random, 12) : random.pick(STRANGE_NAMES);
}

/** The bytes with something wrong: bits turned, cut, lengthened, or another length before them. */
export function damaged(random: Random, bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  const at = random.below(copy.length);
  if (copy.length < 2) return Buffer.concat([copy, Buffer.of(1)]);
  switch (random.below(6)) {
    case 0:
      return copy.subarray(0, at);
    case 1:
      return Buffer.concat([copy, randomBytes(random, 32), Buffer.of(1)]);
    case 2:
      copy.writeUInt16BE(random.pick([0, 1, 255, 257, 512, 65_535, random.below(65_536)]), 0);
      return Buffer.concat([copy, Buffer.of(0)]);
    case 3:
      return Buffer.concat([
        copy.subarray(0, at),
        copy.subarray(Math.min(copy.length, at + 1 + random.below(8))),
      ]);
    default:
      copy[at] = (copy[at] ?? 0) ^ (1 << random.below(8));
      return copy;
  }
}

/** The object with a field, somewhere, replaced by something strange, removed or added. */
export function mutated(random: Random, object: JsonObject): JsonObject {
  const copy = structuredClone(object) as Record<string, unknown>;
  let place = copy;
  for (;;) {
    const keys = Object.keys(place);
    const key = keys.length === 0 || random.below(8) === 0 ? strangeName(random) : random.pick(keys);
    const inner = Object.hasOwn(place, key) ? place[key] : undefined;
    if (typeof inner === 'object' && inner !== null && random.below(4) > 0) {
      place = inner as Record<string, unknown>;
      continue;
    }
    if (random.below(4) === 0) delete place[key];
    else
      Object.defineProperty(place, key, {
        value: strangeJson(random),
        enumerable: true,
        configurable: true,
        writable: true,
      });
    return copy as JsonObject;
  }
}

const PIECES: readonly string[] = [
  '{{',
  '}}',
  '{{ .a }}',
  '{{ .b }}',
  '{{ end }}',
  '{{ if .a }}',
  '{{ range . }}',
  '{{ with .missing }}',
  '{{ else }}',
  '{{ fail .a }}',
  '{{ .a.b.c }}',
  '{{ index .a 99 }}',
  '{{ slice .a 1 }}',
  '{{ mustToDate "2006" .a }}',
  '{{ atoi .a }}',
  '{{ fromJson .a }}',
  '{{ mustFromJson .a }}',
  '{{ semver .a }}',
  '{{ template "x" . }}',
  '{{ define "x" }}',
  '{{ regexFind .a .b }}',
  '{{ mustRegexFind "(" .a }}',
  '{{ div 1 0 }}',
  '{{ repeat 3 .a }}',
  '{{ printf "%d" .a }}',
  '{{ b64dec .a }}',
  '{{ genPrivateKey .a }}',
  '{{ decryptAES .a .b }}',
  '{{ urlParse .a }}',
  '{{ dict .a }}',
  '{{ get . "a" }}',
  '{{ call .a }}',
  '{{ .a | nosuch }}',
  '{{ env "PATH" }}',
  '{{ fail (printf "%s" .a | b64enc) }}',
  '{{ join .a }}',
  '{{ list .a .b | toJson }}',
  '{{ uuidv4 }}',
  '{{/*',
  '*/}}',
  '{{- ',
  ' -}}',
  '"',
  '`',
  '\u0000',
  '\n',
  'text',
  '{{ derivePassword 1 .a }}',
  '{{ round .a }}',
  '{{ html .a | fail }}',
  '{{ buildCustomCert .a .b }}',
];

/** A Go template, seldom a sound one. It may refer to the items a and b. */
export function strangeTemplate(random: Random): string {
  return Array.from({ length: 1 + random.below(6) }, () => random.pick(PIECES)).join(
    random.pick(['', ' ', '\n']),
  );
}
