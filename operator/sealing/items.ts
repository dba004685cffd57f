/** Decrypting a SealedSecret's items: every one of them, or the reasons why not. */

import { decodeBase64 } from './base64.ts';
import { decrypt, type Opened, type OpeningKey } from './hybrid.ts';

/** What is said of an item that no key opens, whatever is wrong with it. */
export const NO_KEY_COULD_DECRYPT = 'no key could decrypt secret';

/** So many items of one object are at the keys at once, so that a large object leaves turns to others. */
const ITEMS_AT_ONCE = 4;

/** Items to decrypt, as they stand in the object. */
export interface SealedItems {
  /** Item → base64; what isn't a string counts as broken base64. */
  items: Readonly<Record<string, unknown>>;
  label: Buffer;
  /** Tried in this order. */
  keys: readonly OpeningKey[];
  /** Item → fingerprint of the key to try first. */
  remembered?: ReadonlyMap<string, string> | undefined;
  signal?: AbortSignal | undefined;
}

/** Item and what is wrong with it. */
export type Failure = readonly [item: string, error: string];

/**
 * Decrypts all items, each tried even if another fails, so that the answer names every broken one. With any failure
 * nothing decrypted is left. Rejects only when the signal aborts.
 */
export async function openItems(
  sealed: SealedItems,
): Promise<{ opened: Map<string, Opened>; failures: Failure[] }> {
  const opened = new Map<string, Opened>();
  const failures: Failure[] = [];
  const items = Object.entries(sealed.items).values();
  const lane = async () => {
    for (const [item, value] of items) {
      const result = await openItem(item, value, sealed);
      if (typeof result === 'string') failures.push([item, result]);
      else opened.set(item, result);
    }
  };
  try {
    await Promise.all(Array.from({ length: ITEMS_AT_ONCE }, lane));
  } catch (error) {
    wipe(opened);
    throw error;
  }
  if (failures.length > 0) wipe(opened);
  return { opened, failures };
}

/** The item's bytes, or what is wrong with its base64. */
export function decodedItem(value: unknown): Buffer | string {
  if (typeof value !== 'string') return 'the item must be a string';
  try {
    return decodeBase64(value);
  } catch (error) {
    return (error as Error).message;
  }
}

/** Sealed Secrets' form, `error (item, item)`, one line an error, but in an order that stays the same. */
export function describeFailures(failures: readonly Failure[]): string {
  const itemsByError = new Map<string, string[]>();
  for (const [item, error] of failures.toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const items = itemsByError.get(error);
    if (items === undefined) itemsByError.set(error, [item]);
    else items.push(item);
  }
  return Array.from(itemsByError, ([error, items]) => `${error} (${items.join(', ')})`).join('\n');
}

/** Overwrites decrypted values that are no longer needed. */
export function wipe(opened: Map<string, Opened>): void {
  for (const { plaintext } of opened.values()) plaintext.fill(0);
  opened.clear();
}

async function openItem(item: string, value: unknown, sealed: SealedItems): Promise<Opened | string> {
  const bytes = decodedItem(value);
  if (typeof bytes === 'string') return bytes;
  const { label, signal } = sealed;
  const keys = orderedKeys(sealed.keys, sealed.remembered?.get(item));
  return (await decrypt({ sealed: bytes, label, keys, signal })) ?? NO_KEY_COULD_DECRYPT;
}

function orderedKeys(keys: readonly OpeningKey[], first: string | undefined): readonly OpeningKey[] {
  const remembered = keys.find((key) => key.fingerprint === first);
  return remembered === undefined ? keys : [remembered, ...keys.filter((key) => key !== remembered)];
}
