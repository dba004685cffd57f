/** `status.artifact` of a source, and how an artifact is named. */

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';

/** `status.artifact` (Flux's source API). `path` is relative to the storage root; `size` is in bytes. */
export interface Artifact {
  path: string;
  url: string;
  revision: string;
  digest: string;
  /** RFC 3339, whole seconds. */
  lastUpdateTime: string;
  size: number;
  metadata?: Record<string, string>;
}

/** Whose artifact: the kind as in the API. */
export interface ArtifactOwner {
  kind: 'GitRepository';
  namespace: string;
  name: string;
}

const OBJECT_NAME = '[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?';
const DIRECTORY = new RegExp(`^gitrepository/${OBJECT_NAME}/${OBJECT_NAME}$`);
const PATH = new RegExp(`^gitrepository/${OBJECT_NAME}/${OBJECT_NAME}/[0-9a-f]{40,64}\\.tar\\.gz$`);
const DIGEST = /^(sha256|sha384|sha512):([0-9a-f]{64,128})$/;

/** `<kind in lower case>/<namespace>/<name>`. @throws TypeError for what can't be an object's name */
export function artifactDirectory(owner: ArtifactOwner): string {
  const directory = `${owner.kind.toLowerCase()}/${owner.namespace}/${owner.name}`;
  if (!DIRECTORY.test(directory)) throw new TypeError(`not the name of an object: ${JSON.stringify(owner)}`);
  return directory;
}

/** What artifacts can be summed with. */
export type DigestAlgorithm = 'sha256' | 'sha384' | 'sha512';

/** True for exactly the paths that artifacts have; nothing that leads elsewhere is one. */
export function isArtifactPath(path: string): boolean {
  return PATH.test(path);
}

/** The algorithm and value of a digest like `sha256:<hex>`; undefined when it isn't one we can compute. */
export function parseDigest(digest: string): { algorithm: string; hex: string } | undefined {
  const [, algorithm, hex] = DIGEST.exec(digest) ?? [];
  return algorithm === undefined || hex === undefined ? undefined : { algorithm, hex };
}

/** The digest of a file, as `<algorithm>:<hex>`. @throws what reading it throws */
export async function digestFile(path: string, algorithm: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash(algorithm);
  await pipeline(createReadStream(path), hash, signal === undefined ? {} : { signal });
  return `${algorithm}:${hash.digest('hex')}`;
}
