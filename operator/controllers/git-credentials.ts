/** The Secrets that a GitRepository's spec names, read for one pass. */

import { REASON } from '../api/conditions.ts';
import type { GitRepository } from '../api/git-repository.gen.ts';
import { SECRET } from '../api/resources.ts';
import type { KubeClient } from '../kube/client.ts';
import { failed, stalled } from '../runtime/reconciler.ts';
import { credentialsFromSecret, type GitCredentials, type SecretData } from '../source/credentials.ts';
import { proxyFromSecret } from '../source/proxy.ts';
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
  const { secretRef, proxySecretRef, url } = repository.spec;
  const { namespace = '' } = repository.metadata;
  const { transport } = parseRepositoryUrl(url);
  const read = (field: string, name: string): Promise<SecretData | undefined> =>
    readSecret({ client, namespace, field, name, signal });
  if (proxySecretRef !== undefined && transport === 'ssh')
    stalled(
      REASON.gitOperationFailed,
      'spec.proxySecretRef is for http:// and https:// addresses: remove it, or change spec.url',
    );
  const [login, proxy] = await Promise.all([
    secretRef && read('secretRef', secretRef.name),
    proxySecretRef && read('proxySecretRef', proxySecretRef.name),
  ]);
  if (secretRef === undefined && proxySecretRef === undefined) return undefined;
  return {
    ...(secretRef && credentialsFromSecret(login, `Secret ${namespace}/${secretRef.name}`, transport)),
    ...(proxySecretRef && { proxy: proxyFromSecret(proxy, `Secret ${namespace}/${proxySecretRef.name}`) }),
  };
}

async function readSecret(o: {
  client: KubeClient;
  namespace: string;
  /** Of the spec. */
  field: string;
  name: string;
  signal: AbortSignal;
}): Promise<SecretData | undefined> {
  const { namespace, name, signal } = o;
  const secret = await o.client.get<SecretObject>(SECRET, { namespace, name }, { signal });
  const message = `Secret ${namespace}/${name}, which spec.${o.field} names, does not exist`;
  return (secret ?? failed(REASON.authenticationFailed, message)).data;
}
