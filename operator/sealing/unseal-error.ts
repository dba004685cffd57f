/** Why a SealedSecret couldn't be unsealed, in Sealed Secrets' words where it has some. Never shows plaintext. */
export class UnsealError extends Error {
  override readonly name = 'UnsealError';
}
