/** The framework's `Operator` as a subclass of ours sees it: its protected members, and no part of Signet's own. */

import type { ResourceEvent, ResourceMeta } from '@dot-i/k8s-operator';
import type { JsonObject } from '../../operator/api/objects.ts';
import type { ResourceType } from '../../operator/api/resources.ts';
import { SignetOperator } from '../../operator/operator.ts';
import { parseCommandLine } from '../../operator/options.ts';
import { recordingLogger } from './sealing.ts';

type Kind = Pick<ResourceType, 'group' | 'version' | 'plural'>;

/** Nothing runs in it but what a test asks for. */
export class FrameworkOperator extends SignetOperator {
  /** What it logged. */
  readonly lines: string[];
  /** Times that it was told to put itself together. */
  initialized = 0;

  constructor(kubeconfig: string, ...flags: string[]) {
    const parsed = parseCommandLine([`--kubeconfig=${kubeconfig}`, ...flags], {});
    if (parsed.action !== 'run') throw new Error('the flags ask for something else than a run');
    const { logger, lines } = recordingLogger();
    super({ options: parsed.options, logger, path: '' });
    this.lines = lines;
  }

  protected override async init(): Promise<void> {
    this.initialized += 1;
  }

  watch(kind: Kind, onEvent: (event: ResourceEvent) => Promise<void>, namespace?: string): Promise<void> {
    return this.watchResource(kind.group, kind.version, kind.plural, onEvent, namespace);
  }

  register(crdFile: string): Promise<{ group: string; plural: string }> {
    return this.registerCustomResourceDefinition(crdFile);
  }

  uri(kind: Kind, namespace?: string): string {
    return this.getCustomResourceApiUri(kind.group, kind.version, kind.plural, namespace);
  }

  setStatus(meta: ResourceMeta, status: JsonObject): Promise<ResourceMeta | null> {
    return this.setResourceStatus(meta, status);
  }

  patchStatus(meta: ResourceMeta, status: JsonObject): Promise<ResourceMeta | null> {
    return this.patchResourceStatus(meta, status);
  }

  handleFinalizer(
    event: ResourceEvent,
    finalizer: string,
    deleteAction: (event: ResourceEvent) => Promise<void>,
  ): Promise<boolean> {
    return this.handleResourceFinalizer(event, finalizer, deleteAction);
  }

  setFinalizers(meta: ResourceMeta, finalizers: string[]): Promise<void> {
    return this.setResourceFinalizers(meta, finalizers);
  }

  /** Ends it, with the connections that a part of Signet's own would close. */
  async close(): Promise<void> {
    await this.shutDown();
    await this.platform.informers.stop();
    await this.platform.client.close();
  }
}
