import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

// Below the range that the kernel gives to outgoing connections (32768 and up on Linux): a port found free here isn't
// taken by somebody's client connection while its server is down for a restart.
const FIRST_PORT = 20_000;
const LAST_PORT = 32_000;
const ATTEMPTS = 200;

/**
 * A TCP port that nothing listens on at 127.0.0.1 now. Picked at random, so that test runs beside each other rarely
 * meet; a caller whose server then finds it taken asks again. Throws when none is found.
 */
export async function findFreePort(): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const port = randomInt(FIRST_PORT, LAST_PORT);
    if (await isFree(port)) return port;
  }
  throw new Error(`no free port between ${FIRST_PORT} and ${LAST_PORT} on 127.0.0.1`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen({ port, host: '127.0.0.1', exclusive: true }, () => probe.close(() => resolve(true)));
  });
}
