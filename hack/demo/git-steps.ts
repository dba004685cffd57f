/** What comes from Git: the first sync, a release, a removal, a revert. */

import { join } from 'node:path';
import type { StoredObject } from '../../operator/api/objects.ts';
import {
  ENVIRONMENTS,
  kustomizations,
  overlayPath,
  SOURCE_NAME,
  SYSTEM_NAMESPACE,
  syncObjects,
  WEB_IMAGE,
  WEB_TAGS,
} from './fleet.ts';
import type { Announcement } from './recording.ts';
import {
  about,
  allReady,
  asBuilt,
  imageOf,
  push,
  readObject,
  type Scene,
  type Step,
  shortRevision,
} from './scene.ts';

const FIRST_IMAGE = `${WEB_IMAGE}:${WEB_TAGS.first}`;
const NEXT_IMAGE = `${WEB_IMAGE}:${WEB_TAGS.next}`;
const WORKER_BASE = 'apps/worker/base';

/** One GitRepository and four Kustomizations are applied; everything in Git appears. */
export const firstSync: Step = {
  name: 'first-sync',
  title: `kubectl apply: a GitRepository and ${kustomizations().length} Kustomizations`,
  async play(scene) {
    const from = scene.recording.position;
    const list = { apiVersion: 'v1', kind: 'List', items: syncObjects(scene.repositoryUrl) };
    await scene.commands.kubectl(['apply', '-f', '-'], JSON.stringify(list));
    const begun = await scene.recording.first({
      what: `GitRepository ${SYSTEM_NAMESPACE}/${SOURCE_NAME}`,
      matches: about('GitRepository', SYSTEM_NAMESPACE, SOURCE_NAME),
      from,
      signal: scene.signal,
    });
    const { atMs, revision } = await allReady(scene, from);
    const counts = await asBuilt(scene);
    return {
      tookMs: atMs - begun.atMs,
      seen: `Ready at ${shortRevision(revision)}; as kustomize builds: ${counts}`,
    };
  },
};

/** A release: one overlay's image is set and pushed; staging stays. */
export const imageBump: Step = {
  name: 'image-bump',
  title: `git push of kustomize edit set image web:${WEB_TAGS.next} (production)`,
  async play(scene) {
    const overlay = join(scene.repository.directory, overlayPath('web', 'production'));
    await scene.commands.kustomize(overlay, ['edit', 'set', 'image', NEXT_IMAGE]);
    await scene.repository.commit(`Release web ${WEB_TAGS.next}`);
    const { from, ackAtMs } = await push(scene);
    const released = await webWithImage(scene, NEXT_IMAGE, from);
    await allReady(scene, from);
    const staging = await readObject(scene, 'Deployment', 'staging', 'web');
    if (imageOf(staging) !== FIRST_IMAGE) throw new Error(`staging's web runs ${imageOf(staging)}`);
    return { tookMs: released.atMs - ackAtMs, seen: `${imageLine(released.object)}; ${imageLine(staging)}` };
  },
};

/** A manifest leaves the base: its objects leave both namespaces, and nothing else does. */
export const prune: Step = {
  name: 'prune',
  title: 'git push of a commit that removes a manifest from the base of worker',
  async play(scene) {
    const file = 'poddisruptionbudget.yaml';
    await scene.repository.remove(`${WORKER_BASE}/${file}`);
    const base = join(scene.repository.directory, WORKER_BASE);
    await scene.commands.kustomize(base, ['edit', 'remove', 'resource', file]);
    await scene.repository.commit('Let worker be evicted');
    const { from, ackAtMs } = await push(scene);
    const gone = await Promise.all(ENVIRONMENTS.map((namespace) => budgetDeleted(scene, namespace, from)));
    await allReady(scene, from);
    const left = await asBuilt(scene);
    return {
      tookMs: Math.max(...gone.map(({ atMs }) => atMs)) - ackAtMs,
      seen: `PodDisruptionBudget worker is gone from both; left: ${left}`,
    };
  },
};

/** The release is reverted in Git. */
export const revert: Step = {
  name: 'revert',
  title: `git push of git revert: the release of web:${WEB_TAGS.next} is taken back`,
  async play(scene) {
    const { repository } = scene;
    const release = await repository.git('log', '--format=%H', `--grep=Release web ${WEB_TAGS.next}`);
    await repository.revert(release);
    const { from, ackAtMs } = await push(scene);
    const back = await webWithImage(scene, FIRST_IMAGE, from);
    const { revision } = await allReady(scene, from);
    return {
      tookMs: back.atMs - ackAtMs,
      seen: `${imageLine(back.object)} again, at ${shortRevision(revision)}`,
    };
  },
};

function webWithImage(scene: Scene, image: string, from: number): Promise<Announcement> {
  const isWeb = about('Deployment', 'production', 'web');
  return scene.recording.first({
    what: `Deployment production/web with image ${image}`,
    matches: (announcement) => isWeb(announcement) && imageOf(announcement.object) === image,
    from,
    signal: scene.signal,
  });
}

function budgetDeleted(scene: Scene, namespace: string, from: number): Promise<Announcement> {
  const isBudget = about('PodDisruptionBudget', namespace, 'worker');
  return scene.recording.first({
    what: `PodDisruptionBudget ${namespace}/worker to be deleted`,
    matches: (announcement) => announcement.type === 'DELETED' && isBudget(announcement),
    from,
    signal: scene.signal,
  });
}

function imageLine(deployment: StoredObject): string {
  const { namespace, name } = deployment.metadata;
  return `${namespace}/${name} has ${imageOf(deployment).split('/').at(-1)}`;
}
