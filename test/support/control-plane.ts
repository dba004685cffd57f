import { existsSync } from 'node:fs';
import { ControlPlane } from '../../hack/cluster/control-plane.ts';
import { installCrds } from '../../hack/cluster/crds.ts';

const crdsDirectory = new URL('../../crds/', import.meta.url).pathname;
let shared: Promise<ControlPlane> | undefined;

/**
 * The control plane that all tests of this mocha run share, started by the first that asks, Signet's CRDs installed,
 * audit log on, stopped after the last. A test that restarts the API server or needs other flags starts its own.
 */
export function sharedControlPlane(): Promise<ControlPlane> {
  shared ??= startWithCrds();
  return shared;
}

/** Stops the shared control plane if it was started, a start that failed included. For the run's teardown. */
export async function stopSharedControlPlane(): Promise<void> {
  const controlPlane = await shared?.catch(() => undefined);
  shared = undefined;
  await controlPlane?.stop();
}

async function startWithCrds(): Promise<ControlPlane> {
  const controlPlane = await ControlPlane.start({ unsafeNoFsync: true, audit: true });
  try {
    if (existsSync(crdsDirectory)) await installCrds(controlPlane.api, crdsDirectory);
    return controlPlane;
  } catch (error) {
    await controlPlane.stop();
    throw error;
  }
}
