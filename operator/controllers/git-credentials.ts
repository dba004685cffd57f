/** The Secrets that a GitRepository's spec names, read for one pass. */

import { REASON } from '../api/conditions.ts';
import type { GitRepository, GitRepositorySpec } from '../api/git-repository.gen.ts';
import { SECRET } from '../api/resources.ts';
import type { KubeClient } from '../kube/client.ts';
import { failed, stalled } from '../runtime/reconciler.ts';
import {
  authoritiesFrom,
  credentialsFromSecret,
  type GitCredentials,
  type SecretData,
} from '../source/credentials.ts';
import { type GitHubAppTokens, gitHubAppFrom, hasGitHubApp } from '../source/github-app.ts';
import { proxyFromSecret } from '../source/proxy.ts';
import { parseRepositoryUrl } from '../source/repository-url.ts';

type SecretObject = NonNullable<Awaited<ReturnType<KubeClient['get']>>> & { data?: SecretData };

/** For whom, and with what. */
export interface GitCredentialsRequest {
  repository: GitRepository;
  client: KubeClient;
  gitHubApps: GitHubAppTokens;
  signal: AbortSignal;
}

/**
 * What the repository's server (and the proxy before it) is to be told.
 * @throws FailedError `AuthenticationFailed` for a Secret that isn't there, `InvalidProviderConfiguration` for one that
 * doesn't fit `spec.provider` (StalledError when it is the spec that is wrong); SourceError for one that can't be used
 */
export async function readGitCredentials(o: GitCredentialsRequest): Promise<GitCredentials | undefined> {
  const { spec, metadata } = o.repository;
  const { secretRef, proxySecretRef } = spec;
  refuseContradictions(spec);
  const { namespace = '' } = metadata;
  const read = (field: string, name: string): Promise<SecretData | undefined> =>
    readSecret({ ...o, namespace, field, name });
  const [data, proxyData] = await Promise.all([
    secretRef && read('secretRef', secretRef.name),
    proxySecretRef && read('proxySecretRef', proxySecretRef.name),
  ]);
  const proxy = proxySecretRef && {
    proxy: proxyFromSecret(proxyData, `Secret ${namespace}/${proxySecretRef.name}`),
  };
  if (secretRef === undefined) return proxy;
  return login(o, { data, secret: `Secret ${namespace}/${secretRef.name}`, proxy });
}

/** What no Secret can mend. */
function refuseContradictions({ url, provider, secretRef, proxySecretRef }: GitRepositorySpec): void {
  const isSsh = parseRepositoryUrl(url).transport === 'ssh';
  if (proxySecretRef !== undefined && isSsh)
    stalled(
      REASON.gitOperationFailed,
      'spec.proxySecretRef is for http:// and https:// addresses: remove it, or change spec.url',
    );
  if (provider !== 'github') return;
  if (secretRef === undefined)
    stalled(
      REASON.invalidProviderConfiguration,
      'spec.provider github needs a Secret with the keys of a GitHub App in spec.secretRef',
    );
  if (isSsh)
    stalled(
      REASON.invalidProviderConfiguration,
      'spec.provider github needs an https:// address in spec.url',
    );
}

async function login(
  { repository: { spec }, gitHubApps, signal }: GitCredentialsRequest,
  o: { data: SecretData | undefined; secret: string; proxy: Pick<GitCredentials, 'proxy'> | undefined },
): Promise<GitCredentials> {
  const { data, secret, proxy } = o;
  const isApp = hasGitHubApp(data);
  if (spec.provider !== 'github') {
    if (isApp)
      failed(
        REASON.invalidProviderConfiguration,
        `${secret} has the keys of a GitHub App, but spec.provider is not github: set it`,
      );
    return { ...credentialsFromSecret(data, secret, parseRepositoryUrl(spec.url).transport), ...proxy };
  }
  if (!isApp)
    failed(
      REASON.invalidProviderConfiguration,
      `${secret} has no keys of a GitHub App (githubAppPrivateKey and so on), which spec.provider github needs`,
    );
  const app = gitHubAppFrom(data, secret);
  return gitHubApps.credentials(app, { ...authoritiesFrom(data, secret), ...proxy }, signal);
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
