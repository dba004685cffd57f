/** Sealed in Git, open in the cluster. Contents are compared with what was sealed and never printed. */

import type { StoredObject } from '../../operator/api/objects.ts';
import { type Credentials, credentialsSecret, holdsCredentials, newCredentials } from './credentials.ts';
import { undoing } from './drift-steps.ts';
import { CREDENTIALS, SEALED_CREDENTIALS_FILE } from './fleet.ts';
import { about, allReady, push, readObject, type Scene, type Step } from './scene.ts';

const isSecret = about('Secret', 'production', CREDENTIALS);
const isSealed = about('SealedSecret', 'production', CREDENTIALS);
const SECRET = `Secret production/${CREDENTIALS}`;

/** The first sync brought a SealedSecret; what became of it. */
export const unsealed: Step = {
  name: 'unseal',
  title: `SealedSecret ${CREDENTIALS}, by kubeseal, came with the first sync`,
  async play(scene) {
    const { recording, signal, credentials } = scene;
    const sealed = await recording.first({
      what: `SealedSecret production/${CREDENTIALS}`,
      matches: isSealed,
      from: 0,
      signal,
    });
    const opened = await recording.first({
      what: `${SECRET} with what was sealed`,
      matches: (announcement) => isSecret(announcement) && holdsCredentials(announcement.object, credentials),
      from: 0,
      signal,
    });
    const secret = await readObject(scene, 'Secret', 'production', CREDENTIALS);
    if (!holdsCredentials(secret, credentials)) throw new Error(`${SECRET} doesn't hold what was sealed`);
    const owner = secret.metadata.ownerReferences?.[0];
    if (owner?.uid !== sealed.object.metadata.uid)
      throw new Error(`${SECRET} isn't owned by its SealedSecret`);
    return {
      tookMs: opened.atMs - sealed.atMs,
      seen: `${SECRET}: ${equalKeys(secret)}`,
    };
  },
};

/** A new password is sealed and pushed, and then the Secret is deleted by hand. */
export function resealing(): Step[] {
  const credentials = newCredentials();
  return [resealed(credentials), secretDeletion(credentials)];
}

function resealed(credentials: Credentials): Step {
  return {
    name: 'reseal',
    title: 'git push of another password, sealed by kubeseal',
    async play(scene: Scene) {
      const { repository, recording, commands, signal } = scene;
      repository.write({
        [SEALED_CREDENTIALS_FILE]: await commands.kubeseal(credentialsSecret(credentials)),
      });
      await repository.commit('Change the password of worker');
      const { from, ackAtMs } = await push(scene);
      const followed = await recording.first({
        what: `${SECRET} with the other password`,
        matches: (announcement) =>
          isSecret(announcement) && holdsCredentials(announcement.object, credentials),
        from,
        signal,
      });
      await allReady(scene, from);
      return {
        tookMs: followed.atMs - ackAtMs,
        seen: `${SECRET}: ${equalKeys(followed.object)}`,
      };
    },
  };
}

function secretDeletion(credentials: Credentials): Step {
  return {
    name: 'secret-delete',
    title: `kubectl delete secret ${CREDENTIALS}`,
    async play(scene) {
      const { undone, tookMs } = await undoing(scene, {
        act: () => scene.commands.kubectl(['delete', 'secret', CREDENTIALS, '-n', 'production']),
        object: ['Secret', 'production', CREDENTIALS],
        disturbed: ({ type }) => type === 'DELETED',
        undone: ({ type, object }) => type === 'ADDED' && holdsCredentials(object, credentials),
      });
      return { tookMs, seen: `${SECRET}: ${equalKeys(undone)}` };
    },
  };
}

/** To be said of a Secret that was compared. */
function equalKeys(secret: StoredObject): string {
  const keys = Object.keys(secret.data ?? {}).sort();
  return `${keys.join(' and ')} equal what was sealed`;
}
