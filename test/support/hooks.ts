// Loaded by mocha before the tests (.mocharc.json).
import { stopSharedControlPlane } from './control-plane.ts';

/** mocha calls this once after the last test, whether tests failed or not. */
export async function mochaGlobalTeardown(): Promise<void> {
  await stopSharedControlPlane();
}
