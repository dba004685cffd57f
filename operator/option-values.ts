/** How the texts that flags were given are read. Each throws an OptionError naming the flag. Pure. */

import { parseDurationMs } from './api/duration.ts';
import { CONTROLLERS, type ControllerName } from './flag-table.ts';
import { OptionError, type Spelling } from './flags.ts';

const RFC1123Z =
  /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-3][0-9] (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [0-9]{4} [0-2][0-9]:[0-5][0-9]:[0-5][0-9] [+-][0-9]{4}$/;
const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;
const QUALIFIED_NAME =
  /^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const REQUIREMENT =
  /^(![\w./-]+|[\w./-]+|[\w./-]+\s*(=|==|!=)\s*[\w.-]*|[\w./-]+\s+(in|notin)\s+\([\w.,\s-]*\))$/;

/** Ends with an OptionError that names the spelling, its value and what is wanted. */
function refuse({ spelt, value }: Spelling, wanted: string): never {
  throw new OptionError(`invalid value "${value}" for ${spelt}: ${wanted}`);
}

/** Any text but none. */
export function required(spelling: Spelling): string {
  return spelling.value === '' ? refuse(spelling, 'it must not be empty') : spelling.value;
}

/** A namespace, or nothing. */
export function namespaceName(spelling: Spelling): string {
  const valid = spelling.value === '' || /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(spelling.value);
  return valid ? spelling.value : refuse(spelling, 'a namespace is 1 to 63 of a-z, 0-9 and inner dashes');
}

/** At least one of the controllers, separated by commas. */
export function controllerNames(spelling: Spelling): ReadonlySet<ControllerName> {
  const names = list(spelling);
  const chosen = CONTROLLERS.filter((name) => names.includes(name));
  if (chosen.length === 0 || chosen.length < new Set(names).size) {
    refuse(spelling, `a list of ${CONTROLLERS.join(', ')}`);
  }
  return new Set(chosen);
}

/** Go's `host:port`. */
export function address(spelling: Spelling): string {
  const port = /^(?:[^\s:]*|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})$/.exec(spelling.value)?.[1];
  const valid = port !== undefined && Number(port) <= 65_535;
  return valid ? spelling.value : refuse(spelling, 'an address is host:port or :port');
}

/** Go's `host:port`, or `0`. */
export function addressOrOff(spelling: Spelling): string {
  return spelling.value === '0' ? spelling.value : address(spelling);
}

/** Names of algorithms as SSH writes them, separated by commas; nothing when empty. */
export function sshAlgorithms(spelling: Spelling): string | undefined {
  if (spelling.value === '') return undefined;
  const valid = /^[a-zA-Z0-9@.-]+(,[a-zA-Z0-9@.-]+)*$/.test(spelling.value);
  return valid ? spelling.value : refuse(spelling, 'names such as curve25519-sha256, separated by commas');
}

/** A whole number within bounds. */
export function integer(spelling: Spelling, least: number, most: number): number {
  const value = /^[0-9]{1,15}$/.test(spelling.value) ? Number(spelling.value) : Number.NaN;
  return value >= least && value <= most
    ? value
    : refuse(spelling, `a whole number from ${least} to ${most}`);
}

/** The same number of workers for each controller. */
export function concurrency(spelling: Spelling): Record<ControllerName, number> {
  const each = integer(spelling, 1, 1_000);
  return { source: each, kustomize: each, 'sealed-secrets': each };
}

/** A duration, zero included. */
export function durationOrZeroMs(spelling: Spelling): number {
  return parseDurationMs(spelling.value) ?? refuse(spelling, 'a duration such as 720h, or 0');
}

/** RFC 1123 with a numeric zone, as Go's `time.RFC1123Z`; nothing when empty. In milliseconds since 1970. */
export function timeMs(spelling: Spelling): number | undefined {
  if (spelling.value === '') return undefined;
  const parsed = RFC1123Z.test(spelling.value) ? Date.parse(spelling.value) : Number.NaN;
  return Number.isNaN(parsed) ? refuse(spelling, 'a time such as "Mon, 02 Jan 2006 15:04:05 -0700"') : parsed;
}

/** `key=value,key=value`, trimmed, as the labels of an object. */
export function labels(spelling: Spelling): Record<string, string> {
  const entries = annotationEntries(spelling);
  const wrong = entries.find(([, value]) => !LABEL_VALUE.test(value));
  if (wrong !== undefined) refuse(spelling, `the value of ${wrong[0]} is no label value`);
  return Object.fromEntries(entries);
}

/** `key=value,key=value`, trimmed, as the annotations of an object. */
export function annotations(spelling: Spelling): Record<string, string> {
  return Object.fromEntries(annotationEntries(spelling));
}

function annotationEntries(spelling: Spelling): Array<[string, string]> {
  return list(spelling).map((entry) => {
    const equals = entry.indexOf('=');
    if (equals < 0) refuse(spelling, `"${entry}" is not key=value`);
    const key = entry.slice(0, equals).trim();
    if (!QUALIFIED_NAME.test(key)) refuse(spelling, `"${key}" is no name for a label or annotation`);
    return [key, entry.slice(equals + 1).trim()];
  });
}

/** Names of namespaces, each once. */
export function namespaceNames(spelling: Spelling): string[] {
  return [...new Set(list(spelling).map((value) => namespaceName({ ...spelling, value })))];
}

/** A label selector as the API server takes it; nothing when empty. */
export function labelSelector(spelling: Spelling): string | undefined {
  if (spelling.value === '') return undefined;
  const requirements = spelling.value.split(/,(?![^(]*\))/).map((text) => text.trim());
  return requirements.every((text) => REQUIREMENT.test(text))
    ? spelling.value
    : refuse(spelling, 'a label selector such as app=web,tier in (a, b),!legacy');
}

function list({ value }: Spelling): string[] {
  return value
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

/** A duration above zero. */
export function durationMs(spelling: Spelling): number {
  const parsed = parseDurationMs(spelling.value);
  return parsed === undefined || parsed <= 0 ? refuse(spelling, 'a duration such as 30s or 1h30m') : parsed;
}

/** The limits of a back-off: two durations, the first no longer than the second. */
export function retryDelays(
  least: Spelling,
  most: Spelling,
): { minRetryDelayMs: number; maxRetryDelayMs: number } {
  const [minRetryDelayMs, maxRetryDelayMs] = [durationMs(least), durationMs(most)];
  if (minRetryDelayMs > maxRetryDelayMs)
    refuse(least, `no longer than ${most.spelt}, which is ${most.value}`);
  return { minRetryDelayMs, maxRetryDelayMs };
}

/** What may start the name of a Secret with letters left to follow. */
export function keyPrefix(spelling: Spelling): string {
  const valid = /^[a-z0-9-]{1,245}$/.test(spelling.value);
  return valid ? spelling.value : refuse(spelling, 'up to 245 of a-z, 0-9 and dashes');
}

/** One of a few words, in any letter case. */
export function oneOf<Value extends string>(spelling: Spelling, allowed: readonly Value[]): Value {
  const found = allowed.find((value) => value.toLowerCase() === spelling.value.toLowerCase());
  return found ?? refuse(spelling, `one of ${allowed.join(', ')}`);
}

/** `text` is Sealed Secrets' word for what is called console here. */
export function logEncoding(spelling: Spelling): 'json' | 'console' {
  const encoding = oneOf(spelling, ['json', 'console', 'text'] as const);
  return encoding === 'text' ? 'console' : encoding;
}

/** What Go's `strconv.ParseBool` takes, in any letter case. */
export function flagValue(spelling: Spelling): boolean {
  const lower = spelling.value.toLowerCase();
  if (['true', 't', '1'].includes(lower)) return true;
  return ['false', 'f', '0'].includes(lower) ? false : refuse(spelling, 'true or false');
}
