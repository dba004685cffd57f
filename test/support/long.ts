/**
 * Picks how far a test goes: the quick form in `npm test`, the long one in `npm run test:long`. Both must be able to
 * fail for the same reasons; the long one is for seeds, sizes and repetitions that take minutes.
 */
export function quickOrLong<T>(forms: { readonly quick: T; readonly long: T }): T {
  return process.env.SIGNET_TEST_LONG === '1' ? forms.long : forms.quick;
}
