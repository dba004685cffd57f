/** `--old-gc-behavior`: the Secret goes with its SealedSecret, whoever owns it, by our hand. */

import type { Logger } from '../api/logger.ts';
import { parseKey, SEALED_SECRET, SECRET } from '../api/resources.ts';
import type { KubeClient } from '../kube/client.ts';

/** Deletes the Secret of a SealedSecret that is gone. One that came back meanwhile keeps its Secret. Never throws. */
export async function deleteSecretOf(o: {
  client: Pick<KubeClient, 'get' | 'delete'>;
  key: string;
  signal: AbortSignal;
  logger: Logger;
}): Promise<void> {
  const { client, signal, logger } = o;
  const name = parseKey(o.key);
  try {
    if ((await client.get(SEALED_SECRET, name, { signal })) !== undefined) return;
    await client.delete(SECRET, name, { signal });
    logger.info('Secret deleted with its SealedSecret', { ...name });
  } catch (error) {
    logger.error('the Secret of a deleted SealedSecret could not be deleted', { ...name, error });
  }
}
