import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { installCrds } from '../../hack/cluster/crds.ts';
import { type Logger, SILENT } from '../../operator/api/logger.ts';
import { FINALIZER, RECONCILE_REQUEST_ANNOTATION } from '../../operator/api/names.ts';
import type { Condition, CustomResource } from '../../operator/api/objects.ts';
import type { ResourceType } from '../../operator/api/resources.ts';
import { KubeClient } from '../../operator/kube/client.ts';
import { loadClusterConfig } from '../../operator/kube/config.ts';
import { EventRecorder } from '../../operator/kube/events.ts';
import { Informers } from '../../operator/kube/informers.ts';
import { type ConditionPolicy, fluxPolicy } from '../../operator/runtime/condition-policy.ts';
import { Controller, type ControllerOptions } from '../../operator/runtime/controller.ts';
import { ownChange } from '../../operator/runtime/enqueue-predicate.ts';
import { Metrics } from '../../operator/runtime/metrics.ts';
import type { Reconciler } from '../../operator/runtime/reconciler.ts';
import { sharedControlPlane } from './control-plane.ts';
import { eventually } from './eventually.ts';
import type { World } from './world.ts';

/** A kind whose reconciler a test scripts. */
export interface GadgetSpec {
  size?: number;
  suspend?: boolean;
}

/** `inventory` stands for a fact that must never be lost. */
export interface GadgetStatus {
  conditions?: Condition[];
  observedGeneration?: number;
  lastHandledReconcileAt?: string;
  inventory?: string[];
}

/** An object of the kind. */
export type Gadget = CustomResource<GadgetSpec, GadgetStatus>;

const API_VERSION = 'test.signet.dev/v1';

/** The kind's place in the API. */
export const GADGET: ResourceType = {
  group: 'test.signet.dev',
  version: 'v1',
  kind: 'Gadget',
  plural: 'gadgets',
  namespaced: true,
};

/** Conditions as Flux's kinds have them, with one negative condition. */
export const GADGET_POLICY: ConditionPolicy<GadgetStatus> = fluxPolicy<GadgetStatus>({
  summary: 'Ready',
  successReason: 'Succeeded',
  failureReason: 'ReconciliationFailed',
  progressMessage: 'reconciliation in progress',
  negative: { FetchFailed: ['GitOperationFailed'] },
});

/** A running controller of gadgets in one namespace, and the gadget that the test looks at. */
export class GadgetRun {
  readonly world: World;
  readonly controller: Controller<GadgetSpec, GadgetStatus>;
  readonly client: KubeClient;
  readonly informers: Informers;
  readonly recorder: EventRecorder;
  readonly metrics = new Metrics({ processMetrics: false });
  #stopped: Promise<void> | undefined;

  constructor(world: World, o: GadgetRunOptions) {
    this.world = world;
    this.client = new KubeClient({
      config: loadClusterConfig({ kubeconfig: o.kubeconfig ?? world.kubeconfig }),
    });
    this.informers = new Informers({ client: this.client, logger: SILENT });
    this.recorder = new EventRecorder({ client: this.client, component: 'gadgets', logger: SILENT });
    this.controller = new Controller({
      name: 'gadgets',
      type: GADGET,
      policy: GADGET_POLICY,
      shouldEnqueue: ownChange(o.reconciler.finalize && FINALIZER),
      concurrency: 2,
      ...(o.reconciler.finalize && { finalizer: FINALIZER }),
      suspended: (object) => object.spec.suspend === true,
      fieldManager: 'gadgets',
      statusWrite: 'merge-patch',
      backOff: { minMs: 50, maxMs: 200 },
      namespace: world.namespace,
      client: this.client,
      informers: this.informers,
      recorder: this.recorder,
      metrics: this.metrics,
      logger: o.logger ?? SILENT,
      reconciler: o.reconciler,
      ...o.options,
    });
  }

  /** Starts the controller; resolves when it works. */
  start(): Promise<void> {
    return this.controller.start(AbortSignal.timeout(30_000));
  }

  /** Ends everything; once is enough. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  /** The path of the gadget `a`. */
  get path(): string {
    return this.world.path(API_VERSION, GADGET.plural, 'a');
  }

  /** Creates the gadget `a`. */
  async create(
    spec: GadgetSpec = {},
    metadata: { annotations?: Record<string, string> } = {},
  ): Promise<Gadget> {
    const body = {
      apiVersion: API_VERSION,
      kind: 'Gadget',
      metadata: { name: 'a', ...metadata },
      spec: { ...spec },
    };
    return (await this.world.api.create(
      this.world.path(API_VERSION, GADGET.plural),
      body,
    )) as unknown as Gadget;
  }

  /** The gadget as the API server has it. */
  async read(): Promise<Gadget | undefined> {
    return (await this.world.api.get(this.path)) as unknown as Gadget | undefined;
  }

  /** Changes the gadget's spec. */
  async edit(spec: GadgetSpec): Promise<void> {
    await this.world.api.mergePatch(this.path, { spec: { ...spec } });
  }

  /** Asks for a pass as `flux reconcile` does. */
  async request(value: string): Promise<void> {
    await this.world.api.mergePatch(this.path, {
      metadata: { annotations: { [RECONCILE_REQUEST_ANNOTATION]: value } },
    });
  }

  /** Waits until the gadget's condition says `status/reason`; answers the gadget. */
  async until(type: string, expected: string): Promise<Gadget> {
    return await eventually(
      async () => {
        const gadget = await this.read();
        const condition = gadget?.status?.conditions?.find((c) => c.type === type);
        const seen = `${condition?.status}/${condition?.reason}`;
        if (seen !== expected) throw new Error(`${type} is ${seen}: ${condition?.message}`);
        return gadget;
      },
      { what: `${type} to be ${expected}` },
    );
  }

  /** Waits until the request is acknowledged; answers the gadget. */
  async untilHandled(value: string): Promise<Gadget> {
    return await eventually(
      async () => {
        const gadget = await this.read();
        return gadget?.status?.lastHandledReconcileAt === value ? gadget : undefined;
      },
      { what: `request ${value} to be acknowledged` },
    );
  }

  /** Waits until the gadget is gone. */
  async untilGone(): Promise<void> {
    await eventually(async () => (await this.read()) === undefined, { what: 'the gadget to be gone' });
  }

  async #stop(): Promise<void> {
    await this.controller.stop();
    await this.recorder.flush(AbortSignal.timeout(10_000)).catch(() => {});
    await this.informers.stop();
    await this.client.close();
  }
}

/** What differs from a plain controller of gadgets. */
export interface GadgetRunOptions {
  reconciler: Reconciler<GadgetSpec, GadgetStatus>;
  options?: Partial<ControllerOptions<GadgetSpec, GadgetStatus>>;
  logger?: Logger;
  kubeconfig?: string;
}

/**
 * Ways to run controllers of gadgets within the surrounding `describe`, each stopped after its test. `prepared` makes
 * one without starting it.
 */
export function useGadgets(world: () => World): {
  run: (o: GadgetRunOptions) => Promise<GadgetRun>;
  prepared: (o: GadgetRunOptions) => GadgetRun;
} {
  const runs: GadgetRun[] = [];

  before('the gadgets kind', async () => {
    const { api } = await sharedControlPlane();
    await installCrds(api, new URL('../fixtures/gadgets/', import.meta.url).pathname);
  });

  afterEach('stop the controllers and let the gadgets go', async () => {
    await Promise.all(runs.map((run) => run.stop()));
    // The namespace couldn't end with a finalizer that nobody serves any more.
    for (const { world: place, path } of runs.splice(0)) {
      if ((await place.api.get(path)) !== undefined) {
        await place.api.mergePatch(path, { metadata: { finalizers: null } });
      }
    }
  });

  const prepared = (o: GadgetRunOptions): GadgetRun => {
    const run = new GadgetRun(world(), o);
    runs.push(run);
    return run;
  };
  return {
    prepared,
    run: async (o) => {
      const run = prepared(o);
      await run.start();
      return run;
    },
  };
}

/** Writes a kubeconfig's text into a folder; answers its path. */
export function kubeconfigFile(directory: string, text: string): string {
  const path = join(directory, 'kubeconfig');
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}
