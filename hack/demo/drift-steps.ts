/** What somebody does by hand, and how it is undone. */

import { WEB_IMAGE, WEB_TAGS } from './fleet.ts';
import type { Announcement } from './recording.ts';
import { about, imageOf, replicasOf, type Scene, type Step } from './scene.ts';

/** A change by hand: what is done, and how its effect and its undoing look on the watch. */
export interface Disturbance {
  readonly act: () => Promise<unknown>;
  /** Of which object: kind, namespace, name. */
  readonly object: readonly [kind: string, namespace: string, name: string];
  readonly disturbed: (announcement: Announcement) => boolean;
  readonly undone: (announcement: Announcement) => boolean;
}

/**
 * Does it and waits for both: that it took effect, and after that that it was undone. The time between the two is by
 * the API server's announcements on one watch.
 */
export async function undoing(scene: Scene, o: Disturbance) {
  const { recording, signal } = scene;
  const isIt = about(...o.object);
  const [kind, namespace, name] = o.object;
  const from = recording.position;
  await o.act();
  const disturbed = await recording.first({
    what: `the change of ${kind} ${namespace}/${name} to take effect`,
    matches: (announcement) => isIt(announcement) && o.disturbed(announcement),
    from,
    signal,
  });
  const undone = await recording.first({
    what: `the change of ${kind} ${namespace}/${name} to be undone`,
    matches: (announcement) => isIt(announcement) && o.undone(announcement),
    from: disturbed.index + 1,
    signal,
  });
  return { disturbed: disturbed.object, undone: undone.object, tookMs: undone.atMs - disturbed.atMs };
}

/** The image is edited. */
export const edit: Step = {
  name: 'edit',
  title: 'kubectl edit deployment web: another image',
  async play(scene) {
    const image = `${WEB_IMAGE}:${WEB_TAGS.next}`;
    const { disturbed, undone, tookMs } = await undoing(scene, {
      act: () =>
        scene.commands.kubectlEdit(['deployment', 'web', '-n', 'production'], `s/:${WEB_TAGS.next}/:debug/`),
      object: ['Deployment', 'production', 'web'],
      disturbed: ({ object }) => imageOf(object) === `${WEB_IMAGE}:debug`,
      undone: ({ object }) => imageOf(object) === image,
    });
    const [was, is] = [disturbed, undone].map((object) => imageOf(object).split('/').at(-1));
    return { tookMs, seen: `production/web had ${was}, has ${is} again` };
  },
};

/** It is scaled to nothing. */
export const scale: Step = {
  name: 'scale',
  title: 'kubectl scale deployment web --replicas=0',
  async play(scene) {
    const { disturbed, undone, tookMs } = await undoing(scene, {
      act: () => scene.commands.kubectl(['scale', 'deployment', 'web', '-n', 'production', '--replicas=0']),
      object: ['Deployment', 'production', 'web'],
      disturbed: ({ object }) => replicasOf(object) === 0,
      undone: ({ object }) => replicasOf(object) === 3,
    });
    const [was, is] = [disturbed, undone].map(replicasOf);
    return { tookMs, seen: `production/web had ${was} replicas, has ${is} again` };
  },
};

/** A Service is deleted. */
export const deletion: Step = {
  name: 'delete',
  title: 'kubectl delete service web',
  async play(scene) {
    const { disturbed, undone, tookMs } = await undoing(scene, {
      act: () => scene.commands.kubectl(['delete', 'service', 'web', '-n', 'production']),
      object: ['Service', 'production', 'web'],
      disturbed: ({ type }) => type === 'DELETED',
      undone: ({ type }) => type === 'ADDED',
    });
    const [was, is] = [disturbed, undone].map(({ metadata }) => metadata.uid.slice(0, 8));
    return { tookMs, seen: `Service production/web is back: its uid was ${was}…, is ${is}…` };
  },
};
