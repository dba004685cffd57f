/** The Secrets that a GitRepository's spec names, read for one pass. */

import { REASON } from '../api/conditions.ts';
import type { GitRepository } from '../api/git-repository.gen.ts';
import { SECRET } from '../api/resources.ts';
import type { KubeClient } from '../kube/client.ts';
import { failed } from '../runtime/reconciler.ts';
import { credentialsFromSecret, type GitCredentials, type SecretData } from '../source/credentials.ts';
import { parseRepositoryUrl } from '../source/repository-url.ts';

type SecretObject = NonNullable<Awaited<ReturnType<KubeClient['get']>>> & { data?: SecretData };

/**
 * What the repository's server (and the proxy before it) is to be told.
 * @throws FailedError `AuthenticationFailed` for a Secret that isn't there; SourceError for one that can't be used
 */
export async function readGitCredentials(
  repository: GitRepository,
  client: KubeClient,
  signal: AbortSignal,
): Promise<GitCredentials | undefined> {
  const { secretRef, url } = repository.spec;
  if (secretRef === undefined) return undefined;
  const { namespace = '' } = repository.metadata;
  const read = (field: string, name: string): Promise<SecretObject> =>
    readSecret({ client, namespace, field, name, signal });
  const secret = await read('secretRef', secretRef.name);
  const { transport } = parseRepositoryUrl(url);
  return credentialsFromSecret(secret.data, `Secret ${namespace}/${secretRef.name}`, transport);
}

async function readSecret(o: {
  client: KubeClient;
  namespace: string;
  /** Of the spec. */
  field: string;
  name: string;
  signal: AbortSignal;
}): Promise<SecretObject> {
  const { namespace, name, signal } = o;
  const secret = await o.client.get<SecretObject>(SECRET, { namespace, name }, { signal });
  const message = `Secret ${namespace}/${name}, which spec.${o.field} names, does not exist`;
  return secret ?? failed(REASON.authenticationFailed, message);
}
