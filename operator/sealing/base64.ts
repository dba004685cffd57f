/**
 * Standard base64, read as strictly as Go's `base64.StdEncoding`: padding is required, carriage returns and
 * line feeds are skipped, anything else outside the alphabet is an error. (`Buffer.from(x, 'base64')` takes
 * junk, the URL-safe alphabet and missing padding.)
 */

/** Not standard base64. The message is Go's own, since it ends up in a status that people compare. */
export class Base64Error extends Error {
  override readonly name = 'Base64Error';

  /** `offset` counts bytes of the UTF-8 text from its start. */
  constructor(offset: number) {
    super(`illegal base64 data at input byte ${offset}`);
  }
}

const WELL_FORMED = /^[A-Za-z0-9+/]*={0,2}$/;
const ALPHABET = /[A-Za-z0-9+/]/;
const LINE_BREAKS = /[\r\n]/g;

/** The bytes of `text`. Throws {@link Base64Error} at the byte where Go's decoder gives up. */
export function decodeBase64(text: string): Buffer {
  const compact = text.replace(LINE_BREAKS, '');
  if (compact.length % 4 !== 0 || !WELL_FORMED.test(compact)) throw new Base64Error(corruptOffset(text));
  return Buffer.from(compact, 'base64');
}

/** Where Go's `decodeQuantum` reports the corruption of a text known to be corrupt. */
function corruptOffset(text: string): number {
  const bytes = Buffer.from(text);
  const isLineBreak = (at: number) => bytes[at] === 0x0a || bytes[at] === 0x0d;
  const skipLineBreaks = (from: number) => {
    let at = from;
    while (at < bytes.length && isLineBreak(at)) at++;
    return at;
  };
  let inQuantum = 0;
  for (let at = 0; at < bytes.length; at++) {
    if (isLineBreak(at)) continue;
    const character = String.fromCharCode(bytes[at] ?? 0);
    if (ALPHABET.test(character)) {
      inQuantum = (inQuantum + 1) % 4;
      continue;
    }
    if (character !== '=' || inQuantum < 2) return at;
    let next = skipLineBreaks(at + 1);
    if (inQuantum === 2) {
      if (next === bytes.length) return next;
      if (bytes[next] !== 0x3d) return next - 1;
      next = skipLineBreaks(next + 1);
    }
    return next;
  }
  return bytes.length - inQuantum;
}
