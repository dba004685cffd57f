/** SealedSecrets on a real API server with the operator beside it, for tests. */

import { X509Certificate } from 'node:crypto';
import { findCondition } from '../../operator/api/conditions.ts';
import type { Condition, JsonObject, KubeObject, StoredObject } from '../../operator/api/objects.ts';
import type { SealedSecret, SealedSecretSpec } from '../../operator/api/sealed-secret.gen.ts';
import { eventually } from './eventually.ts';
import { type OperatorProcess, startOperator } from './operator-process.ts';
import { sealedSecret } from './sealing.ts';
import { toolPath } from './tool-path.ts';
import type { World } from './world.ts';

/** What a SealedSecret to be made has beside its values. */
export interface SealOptions {
  annotations?: Record<string, string>;
  labels?: Record<string, string>;
  spec?: Partial<SealedSecretSpec>;
}

/** A namespace in which an operator of its own unseals. */
export class UnsealingWorld {
  readonly world: World;
  readonly #flags: readonly string[];
  #operator: OperatorProcess | undefined;
  #certificate: X509Certificate | undefined;

  constructor(world: World, flags: readonly string[] = []) {
    this.world = world;
    this.#flags = flags;
  }

  /** Starts the operator, also after {@link stop}; it and the keys live in the world's namespace. */
  async start(): Promise<void> {
    this.#operator = await startOperator({
      ...{ kubeconfig: this.world.kubeconfig, namespace: this.world.namespace, onlyNamespace: true },
      buildWorker: 'none',
      flags: [
        ...['--controllers=sealed-secrets', '--key-size=2048', '--log-level=debug'],
        ...['--template-engine', await toolPath('template-engine')],
        ...this.#flags,
      ],
    });
    const answer = await fetch(`${this.#operator.sealedSecretsUrl}/v1/cert.pem`);
    this.#certificate = new X509Certificate(await answer.text());
  }

  /** SIGTERM, to the end. */
  async stop(): Promise<void> {
    await this.#operator?.stop();
  }

  get operator(): OperatorProcess {
    if (this.#operator === undefined) throw new Error('the operator has not been started');
    return this.#operator;
  }

  /** A SealedSecret of this namespace, sealed with the certificate that the operator serves; not sent yet. */
  sealed(name: string, values: Record<string, string>, o: SealOptions = {}): SealedSecret {
    const publicKey = this.#certificate?.publicKey;
    if (publicKey === undefined) throw new Error('the operator has not been started');
    const { namespace } = this.world;
    const { annotations = {}, labels = {}, spec = {} } = o;
    const made = sealedSecret({ publicKey, values, metadata: { name, namespace, annotations }, spec });
    return { ...made, metadata: { name, namespace, annotations, labels } as SealedSecret['metadata'] };
  }

  /** Creates it, or gives the one that is there this spec and metadata. */
  async apply(object: SealedSecret): Promise<SealedSecret> {
    const { name } = object.metadata;
    const existing = await this.world.api.get(this.#path(name));
    if (existing === undefined) {
      return (await this.world.api.create(
        this.#path(),
        object as unknown as JsonObject,
      )) as unknown as SealedSecret;
    }
    const metadata = { ...(existing as unknown as StoredObject).metadata, ...object.metadata };
    return (await this.world.api.replace(this.#path(name), {
      ...object,
      metadata,
    } as unknown as JsonObject)) as unknown as SealedSecret;
  }

  async seal(name: string, values: Record<string, string>, o: SealOptions = {}): Promise<SealedSecret> {
    return await this.apply(this.sealed(name, values, o));
  }

  async read(name: string): Promise<SealedSecret> {
    return (await this.world.api.get(this.#path(name))) as unknown as SealedSecret;
  }

  async remove(name: string): Promise<void> {
    await this.world.api.delete(this.#path(name));
  }

  /** The Secret's values as text; `undefined` when there is none. */
  async values(name: string): Promise<Record<string, string> | undefined> {
    const secret = await this.secret(name);
    if (secret === undefined) return undefined;
    const data = (secret.data ?? {}) as Record<string, string>;
    return Object.fromEntries(
      Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]),
    );
  }

  async secret(name: string): Promise<StoredObject | undefined> {
    return (await this.world.api.get(this.secretPath(name))) as unknown as StoredObject | undefined;
  }

  async makeSecret(
    name: string,
    secret: Omit<Partial<KubeObject>, 'metadata'> & { metadata?: object },
  ): Promise<void> {
    const metadata = { name, namespace: this.world.namespace, ...secret.metadata };
    await this.world.api.create(this.world.path('v1', 'secrets'), {
      ...{ apiVersion: 'v1', kind: 'Secret', ...secret },
      metadata,
    } as unknown as JsonObject);
  }

  secretPath(name: string): string {
    return this.world.path('v1', 'secrets', name);
  }

  /** Waits until Synced says this about the newest generation; answers the condition. */
  async synced(name: string, status: 'True' | 'False', message?: RegExp): Promise<Condition> {
    return await eventually(
      async () => {
        const object = await this.read(name);
        const condition = findCondition(object.status?.conditions, 'Synced');
        const current = object.status?.observedGeneration === object.metadata.generation;
        if (!current || condition?.status !== status) return undefined;
        return message === undefined || message.test(condition.message ?? '') ? condition : undefined;
      },
      {
        what: `${name} to be Synced=${status}${message === undefined ? '' : ` ${message}`}`,
        timeoutMs: 15_000,
      },
    );
  }

  /** The messages of the events about it, by reason. */
  async events(name: string): Promise<Array<{ type: string; reason: string; message: string }>> {
    const { body } = await this.world.api.call('GET', this.world.path('v1', 'events'));
    const { items } = body as unknown as {
      items: Array<{
        type: string;
        reason: string;
        message: string;
        involvedObject: { kind: string; name: string };
      }>;
    };
    return items.filter(({ involvedObject: o }) => o.kind === 'SealedSecret' && o.name === name);
  }

  #path(name?: string): string {
    return this.world.path('bitnami.com/v1alpha1', 'sealedsecrets', name);
  }
}
