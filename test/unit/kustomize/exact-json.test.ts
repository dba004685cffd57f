import assert from 'node:assert/strict';
import { parseExactJson } from '../../../operator/kustomize/exact-json.ts';

describe('parsing JSON exactly', () => {
  for (const text of [
    '{"a":9007199254740993,"b":[-9223372036854775808,{"c":18446744073709551615}]}',
    '{"a":"9007199254740993","b":1.5}',
    '12345678901234567890',
    '{"a":123456789012345,"b":-1}',
  ]) {
    it(`gives every integer back as it was written: ${text}`, () => {
      assert.equal(JSON.stringify(parseExactJson(text)), text);
    });
  }

  it('leaves numbers that a JavaScript number holds as numbers', () => {
    assert.deepEqual(parseExactJson('{"a":9007199254740991,"b":9007199254740993,"c":0.1}'), {
      a: 9007199254740991,
      b: (parseExactJson('{"b":9007199254740993}') as { b: unknown }).b,
      c: 0.1,
    });
  });

  it('refuses what is no JSON', () => {
    assert.throws(() => parseExactJson('{"a":'), SyntaxError);
    assert.throws(() => parseExactJson('{"a":1234567890123456789'), SyntaxError);
  });
});
