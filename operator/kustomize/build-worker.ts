import { availableParallelism } from 'node:os';
import { isAbsolute } from 'node:path';
import { REASON } from '../api/conditions.ts';
import type { Logger } from '../api/logger.ts';
import type { KubeObject } from '../api/objects.ts';
import { BuildError } from './build-error.ts';
import type { InputClosure } from './input-closure.ts';
import { applyCommonMetadata, manifestsOf } from './normalise.ts';
import { type WorkerAnswer, WorkerProcess, type WorkerRequest } from './worker-process.ts';

/** What a Kustomization's spec adds to the kustomization file, in the spec's own fields. */
export interface OverlaySpec {
  targetNamespace?: string;
  namePrefix?: string;
  nameSuffix?: string;
  patches?: ReadonlyArray<{ patch: string; target?: object }>;
  /** Merged field by field with the file's; a tag clears its digest and the reverse. */
  images?: ReadonlyArray<{ name: string; newName?: string; newTag?: string; digest?: string }>;
  /** Local directories, relative to the path. */
  components?: readonly string[];
  ignoreMissingComponents?: boolean;
  /** Set on the objects after the build; a caller that changes them first leaves it out (`applyCommonMetadata`). */
  commonMetadata?: { labels?: Record<string, string>; annotations?: Record<string, string> };
  buildMetadata?: readonly string[];
}

/** A build to make. */
export interface BuildRequest {
  /** The extracted artifact: an absolute directory. Nothing outside of it is read. */
  root: string;
  /** `spec.path`: relative to the root and never beyond it. */
  path: string;
  overlay: OverlaySpec;
  signal: AbortSignal;
  /** Counts from the call, with the time spent waiting for a free worker. */
  timeoutMs: number;
}

/** The objects to apply, in kustomize's order (see `manifestsOf`), and all that they depend on in the artifact. */
export interface BuildResult {
  objects: KubeObject[];
  inputs: InputClosure;
}

const IDLE_MS = 60_000;

/**
 * Runs kustomize builds in a few long-lived processes (build-worker/), started as they are needed, ended after a minute
 * without work, and replaced when one is aborted, times out, passes its memory limit or crashes.
 */
export class BuildWorkers {
  readonly #binary: string;
  readonly #size: number;
  readonly #memoryLimitMb: number;
  readonly #logger: Logger;
  readonly #processes = new Set<WorkerProcess>();
  readonly #idle: Array<{ worker: WorkerProcess; retirement: NodeJS.Timeout }> = [];
  readonly #waiting = new Set<() => void>();
  #closed = false;

  /** `binary`: the built worker. `size`: builds at once, by default one for each CPU up to four. */
  constructor(options: { binary: string; size?: number; memoryLimitMb?: number; logger: Logger }) {
    this.#binary = options.binary;
    this.#size = options.size ?? Math.min(4, availableParallelism());
    this.#memoryLimitMb = options.memoryLimitMb ?? 1024;
    this.#logger = options.logger;
  }

  /**
   * Builds the path. Throws {@link BuildError} (`ArtifactFailed` when the path isn't there, else `BuildFailed`), or the
   * signal's reason when it is aborted.
   */
  async build(request: BuildRequest): Promise<BuildResult> {
    const deadline = AbortSignal.timeout(request.timeoutMs);
    const signal = AbortSignal.any([request.signal, deadline]);
    const { commonMetadata } = request.overlay;
    try {
      const answer = await this.#run(workerRequest(request), signal);
      const inputs = inputsOf(answer);
      const objects = manifestsOf(answer.objects);
      if (commonMetadata !== undefined) applyCommonMetadata(objects, commonMetadata);
      return { objects, inputs };
    } catch (error) {
      if (!deadline.aborted || error !== deadline.reason) throw error;
      throw new BuildError(`the build didn't end within ${request.timeoutMs / 1000}s`, { cause: error });
    }
  }

  /** Ends every worker; resolves when none is left. Builds under way and later ones fail. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const { retirement } of this.#idle.splice(0)) clearTimeout(retirement);
    for (const worker of this.#processes) worker.kill(new BuildError('the build workers are closed'));
    for (const wake of this.#waiting) wake();
    await Promise.all([...this.#processes].map((worker) => worker.ended));
  }

  async #run(request: WorkerRequest, signal: AbortSignal): Promise<WorkerAnswer> {
    const worker = await this.#acquire(signal);
    const abort = (): void => worker.kill(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    try {
      return await worker.run(request);
    } finally {
      signal.removeEventListener('abort', abort);
      this.#release(worker);
    }
  }

  async #acquire(signal: AbortSignal): Promise<WorkerProcess> {
    for (;;) {
      if (signal.aborted) this.#wakeOne(); // in case it was this one that a free worker woke
      signal.throwIfAborted();
      if (this.#closed) throw new BuildError('the build workers are closed');
      const idle = this.#idle.pop();
      if (idle !== undefined) {
        clearTimeout(idle.retirement);
        if (idle.worker.alive) return idle.worker;
      } else if (this.#processes.size < this.#size) {
        return this.#start();
      } else {
        await this.#workerFreed(signal);
      }
    }
  }

  /** Resolves when a worker is free or gone, or by the signal: the caller looks again. */
  #workerFreed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#waiting.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }

  #start(): WorkerProcess {
    const worker = new WorkerProcess({
      binary: this.#binary,
      memoryLimitMb: this.#memoryLimitMb,
      logger: this.#logger,
    });
    this.#processes.add(worker);
    void worker.ended.then(() => {
      this.#processes.delete(worker);
      this.#wakeOne();
    });
    return worker;
  }

  #release(worker: WorkerProcess): void {
    if (!worker.alive) return; // its end frees the place
    const retirement = setTimeout(() => worker.kill(new Error('idle')), IDLE_MS).unref();
    this.#idle.push({ worker, retirement });
    this.#wakeOne();
  }

  #wakeOne(): void {
    const [wake] = this.#waiting;
    wake?.();
  }
}

/** Takes only the fields of {@link OverlaySpec}, since callers may pass a whole spec. */
function workerRequest({ root, path, overlay: spec }: BuildRequest): WorkerRequest {
  for (const component of spec.components ?? []) {
    if (isAbsolute(component) || component.includes('://')) {
      throw new BuildError(`component path '${component}' must be local and relative`);
    }
  }
  const { namePrefix, nameSuffix, patches, images, components, buildMetadata } = spec;
  return {
    root,
    path,
    overlay: {
      namespace: spec.targetNamespace,
      namePrefix,
      nameSuffix,
      patches,
      images,
      components,
      buildMetadata,
    },
    ignoreMissingComponents: spec.ignoreMissingComponents ?? false,
  };
}

function inputsOf({ error, inputs }: WorkerAnswer): InputClosure {
  if (error !== null || inputs === null) {
    throw new BuildError(error?.message ?? 'the build worker answered nothing', {
      ...(error?.pathNotFound === true ? { reason: REASON.artifactFailed } : {}),
    });
  }
  return { ...inputs, absent: Object.keys(inputs.absent) };
}
