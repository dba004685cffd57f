import assert from 'node:assert/strict';
import { Base64Error, decodeBase64 } from '../../../operator/sealing/base64.ts';

/** Input and what Go's `base64.StdEncoding.DecodeString` answered: bytes in hex, or the offset of its error. */
const GO: ReadonlyArray<[string, string | number]> = [
  ['', ''],
  ['A', 0],
  ['AA', 0],
  ['AAA', 0],
  ['AAAA', '000000'],
  ['AA=', 3],
  ['AA==', '00'],
  ['AAA=', '0000'],
  ['=', 0],
  ['==', 0],
  ['===', 0],
  ['====', 0],
  ['A===', 1],
  ['AA=A', 2],
  ['AAAA=', 4],
  ['AAAA==', 4],
  ['AA==AA==', 4],
  ['AAA=A', 4],
  ['AA==\n', '00'],
  ['AA=\n=', '00'],
  ['AA=\r\n', 5],
  ['A\nA\n=\n=\n', '00'],
  ['AA==\n\nA', 6],
  [' AAAA', 0],
  ['AAAA ', 4],
  ['AA AA', 2],
  ['AA-A', 2],
  ['AA_A', 2],
  ['AAA*', 3],
  ['é===', 0],
  ['AAAAé', 4],
  ['AAAAA', 4],
  ['AAAAAA', 4],
  ['AAAA\nAAAAA', 9],
  ['AB==', '00'],
  ['AAB=', '0000'],
  ['A=AA', 1],
  ['AAA=\n=', 5],
  ['A A A A', 1],
  ['\n', ''],
  ['\r\n', ''],
  ['\tAAAA', 0],
  ['AA=\u0000', 2],
  ['QUJD*', 4],
  ['AAAA\u0000', 4],
];

describe('strict base64', () => {
  for (const [text, expected] of GO) {
    const outcome = typeof expected === 'number' ? `fails at byte ${expected}` : `decodes to "${expected}"`;
    it(`${outcome} for ${JSON.stringify(text)}, as in Go`, () => {
      if (typeof expected === 'string') {
        assert.equal(decodeBase64(text).toString('hex'), expected);
        return;
      }
      assert.throws(() => decodeBase64(text), new Base64Error(expected));
    });
  }

  it('decodes what Node encodes, at every length modulo three', () => {
    for (let length = 0; length < 100; length++) {
      const bytes = Buffer.from(Array.from({ length }, (_, i) => (i * 37) % 256));
      assert.deepEqual(decodeBase64(bytes.toString('base64')), bytes);
    }
  });
});
