/** The signature of hack/tools.mjs, which is plain JavaScript because it also runs before `npm ci`. */
interface Tools {
  toolPath(binary: string): Promise<string>;
}

/**
 * The absolute path of a program that tests run (`kustomize`, `kubectl`, `kustomize-build-worker`, …), built first when
 * it isn't in the cache: allow minutes in a `before` hook. Throws with what is missing.
 */
export async function toolPath(binary: string): Promise<string> {
  const tools = (await import(new URL('../../hack/tools.mjs', import.meta.url).href)) as Tools;
  return tools.toolPath(binary);
}
