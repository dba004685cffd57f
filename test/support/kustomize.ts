import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { SILENT } from '../../operator/api/logger.ts';
import type { KubeObject } from '../../operator/api/objects.ts';
import { type BuildResult, BuildWorkers, type OverlaySpec } from '../../operator/kustomize/build-worker.ts';
import { toolPath } from './tool-path.ts';

/** Long enough for the worker to be compiled on two cores. */
export const TOOL_TIMEOUT_MS = 5 * 60_000;

/** Workers on the real program. */
export async function startBuildWorkers(
  options: { size?: number; memoryLimitMb?: number } = {},
): Promise<BuildWorkers> {
  return new BuildWorkers({ binary: await toolPath('kustomize-build-worker'), logger: SILENT, ...options });
}

/** A build with no more than a root and a path; a minute is enough for any. */
export function build(
  workers: BuildWorkers,
  root: string,
  path = '',
  overlay: OverlaySpec = {},
): Promise<BuildResult> {
  return workers.build({ root, path, overlay, signal: new AbortController().signal, timeoutMs: 60_000 });
}

/** What the stock `kustomize build` makes of a directory, as YAML. */
export async function kustomizeCli(directory: string): Promise<string> {
  const binary = await toolPath('kustomize');
  const { stdout } = await promisify(execFile)(
    binary,
    ['build', '--load-restrictor', 'LoadRestrictionsNone', directory],
    { env: {}, maxBuffer: 1 << 28 },
  );
  return stdout;
}

/** The objects of a YAML stream that kustomize wrote (it quotes what readers disagree about). */
export function objectsOf(yaml: string): KubeObject[] {
  return parseAllDocuments(yaml).map((document) => document.toJS() as KubeObject);
}

/** The objects by identity, to compare sets. */
export function byId(objects: readonly KubeObject[]): Record<string, KubeObject> {
  return Object.fromEntries(
    objects.map((object) => [
      `${object.apiVersion} ${object.kind} ${object.metadata.namespace ?? ''}/${object.metadata.name}`,
      object,
    ]),
  );
}
