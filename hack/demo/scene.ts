/** What the steps of the story share: the world as they find it, and reading it back. */

import { isDeepStrictEqual } from 'node:util';
import { parseAllDocuments } from 'yaml';
import type { KubeObject, StoredObject } from '../../operator/api/objects.ts';
import { kustomizations, SYSTEM_NAMESPACE } from './fleet.ts';
import type { Parts } from './installation.ts';
import type { Announcement, Recording } from './recording.ts';

/** The world of a step; `signal` ends it. */
export interface Scene extends Parts {
  readonly recording: Recording;
  readonly signal: AbortSignal;
}

/** What came of a step. */
export interface Outcome {
  /** What the API server shows, in one line. */
  readonly seen: string;
  readonly tookMs: number;
}

/** One step of the story. */
export interface Step {
  /** What failures and `SIGNET_DEMO_SABOTAGE` call it. */
  readonly name: string;
  /** What is done, in one line. */
  readonly title: string;
  /** Does it and resolves when it came true; rejects with what didn't. */
  readonly play: (scene: Scene) => Promise<Outcome>;
}

/** The collections that a recording for the story follows. Of Secrets only production's: the sealing key stays out. */
export const RECORDED_COLLECTIONS = [
  '/apis/source.toolkit.fluxcd.io/v1/gitrepositories',
  '/apis/kustomize.toolkit.fluxcd.io/v1/kustomizations',
  '/apis/bitnami.com/v1alpha1/sealedsecrets',
  '/apis/apps/v1/deployments',
  '/apis/policy/v1/poddisruptionbudgets',
  '/api/v1/services',
  '/api/v1/namespaces/production/secrets',
];

/** Matches what is announced of one object. */
export function about(kind: string, namespace: string, name: string) {
  return ({ object }: Announcement): boolean =>
    object.kind === kind && object.metadata.namespace === namespace && object.metadata.name === name;
}

interface Deployment extends StoredObject {
  spec: { replicas: number; template: { spec: { containers: { image: string }[] } } };
}

/** The image of a Deployment's first container. */
export function imageOf(object: StoredObject): string {
  return (object as Deployment).spec.template.spec.containers[0]?.image ?? '';
}

/** How many replicas a Deployment asks for. */
export function replicasOf(object: StoredObject): number {
  return (object as Deployment).spec.replicas;
}

/** Reads one object with kubectl. */
export async function readObject(scene: Scene, kind: string, namespace: string, name: string) {
  const text = await scene.commands.kubectl(['get', kind, name, '-n', namespace, '-o', 'json']);
  return JSON.parse(text) as StoredObject;
}

/** The working copy's commit, as a revision. */
export async function headRevision({ repository }: Scene): Promise<string> {
  return `main@sha1:${await repository.head()}`;
}

/** A revision short enough to print. */
export function shortRevision(revision: string): string {
  return revision.slice(0, 'main@sha1:'.length + 8);
}

/** Pushes; answers with the recording's place before it, and when git had acknowledged it. */
export async function push(scene: Scene): Promise<{ from: number; ackAtMs: number }> {
  const from = scene.recording.position;
  await scene.repository.push(scene.repositoryUrl);
  return { from, ackAtMs: performance.now() };
}

/**
 * Resolves when every Kustomization was announced as Ready at the working copy's commit, to the last of these
 * announcements. `from`: a place of the recording before the push.
 */
export async function allReady(scene: Scene, from: number): Promise<{ atMs: number; revision: string }> {
  const revision = await headRevision(scene);
  const announcements = await Promise.all(
    kustomizations().map(({ name }) => {
      const isIt = about('Kustomization', SYSTEM_NAMESPACE, name);
      return scene.recording.first({
        what: `Kustomization ${SYSTEM_NAMESPACE}/${name} to be Ready at ${revision}`,
        matches: (announcement) => isIt(announcement) && isReadyAt(announcement.object, revision),
        from,
        signal: scene.signal,
      });
    }),
  );
  return { atMs: Math.max(...announcements.map(({ atMs }) => atMs)), revision };
}

interface Kustomization extends StoredObject {
  status?: {
    lastAppliedRevision?: string;
    observedGeneration?: number;
    conditions?: { type: string; status: string }[];
  };
}

function isReadyAt(object: StoredObject, revision: string): boolean {
  const { status, metadata } = object as Kustomization;
  return (
    status?.lastAppliedRevision === revision &&
    status.observedGeneration === metadata.generation &&
    status.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True') === true
  );
}

/**
 * Compares what the stock kustomize builds from the working copy with what the API server holds under the owner
 * labels, by kind and name, in each namespace. Resolves to "8 objects in production, 7 in staging"; rejects with a difference.
 */
export async function asBuilt(scene: Scene): Promise<string> {
  const wanted = new Map<string, string[]>();
  for (const { path, targetNamespace } of kustomizations()) {
    const text = await scene.commands.kustomize(scene.repository.directory, ['build', path]);
    const ids = parseAllDocuments(text).map((document) => idOf(document.toJS() as KubeObject));
    wanted.set(targetNamespace, [...(wanted.get(targetNamespace) ?? []), ...ids]);
  }
  const counts = [];
  for (const [namespace, ids] of wanted) {
    const live = await managedIds(scene, namespace);
    if (!isDeepStrictEqual(live, [...ids].sort())) {
      throw new Error(
        `namespace ${namespace} holds ${live.join(', ')}; kustomize build has ${ids.sort().join(', ')}`,
      );
    }
    counts.push(`${live.length}${counts.length === 0 ? ' objects' : ''} in ${namespace}`);
  }
  return counts.join(', ');
}

const KINDS = 'configmaps,deployments,poddisruptionbudgets,sealedsecrets,serviceaccounts,services';

async function managedIds({ commands }: Scene, namespace: string): Promise<string[]> {
  const owner = 'kustomize.toolkit.fluxcd.io/name';
  const text = await commands.kubectl(['get', KINDS, '-n', namespace, '-l', owner, '-o', 'json']);
  return (JSON.parse(text) as { items: StoredObject[] }).items.map(idOf).sort();
}

function idOf({ kind, metadata }: KubeObject): string {
  return `${kind}/${metadata.name}`;
}
