/** Secrets that GitRepositories refer to: a change of one has its users looked at again. */

import type { GitRepository } from '../api/git-repository.gen.ts';
import { keyOf, objectKey } from '../api/resources.ts';
import type { Informers } from '../kube/informers.ts';
import type { Store } from '../kube/store.ts';
import type { Runnable } from '../runtime/manager.ts';
import { secretVersions } from './secret-versions.ts';
import { webhookSecretName } from './webhooks.ts';

/** What the watch works with. */
export interface SourceSecretsOptions {
  informers: Informers;
  /** Watch this namespace only. */
  namespace: string | undefined;
  repositories: () => Pick<Store<GitRepository>, 'list'>;
  /** A Secret that this GitRepository refers to has come, changed or gone. */
  onChanged: (key: string) => void;
}

/**
 * Follows Secrets as metadata: no value is ever held. It is one watch, however many Secrets are referred to (the one
 * that SealedSecrets use, where they are served too).
 */
export class SourceSecrets implements Runnable {
  readonly name = 'source secrets';
  readonly #o: SourceSecretsOptions;
  #release: () => void = () => {};

  constructor(o: SourceSecretsOptions) {
    this.#o = o;
  }

  async start(): Promise<void> {
    const { informer, release } = this.#o.informers.acquire(secretVersions(this.#o.namespace));
    // What is there at the start has been used by everybody's first pass.
    let listening = false;
    const unsubscribe = informer.subscribe(({ key }) => {
      if (listening && informer.hasSynced) this.#tellUsers(key);
    });
    listening = true;
    this.#release = () => {
      unsubscribe();
      release();
    };
  }

  async stop(): Promise<void> {
    this.#release();
  }

  #tellUsers(secretKey: string): void {
    for (const repository of this.#o.repositories().list()) {
      const { namespace = '' } = repository.metadata;
      const isUser = secretNames(repository).some((name) => keyOf({ namespace, name }) === secretKey);
      if (isUser) this.#o.onChanged(objectKey(repository));
    }
  }
}

/** The Secrets that a GitRepository refers to, all in its own namespace. */
export function secretNames(repository: Pick<GitRepository, 'metadata' | 'spec'>): string[] {
  const { secretRef, proxySecretRef, verify } = repository.spec;
  const names = [
    secretRef?.name,
    proxySecretRef?.name,
    verify?.secretRef.name,
    webhookSecretName(repository),
  ];
  return names.filter((name) => name !== undefined);
}
