/**
 * The floor of drift repair: a process that watches some objects and applies its copy of each whenever an event shows
 * another resourceVersion than its last apply gave. No proofs, no queue, no status: nothing could do less.
 *
 *   node test/support/bare-loop.ts FILE     FILE: JSON {access, objects: [{path, name, object}]}
 *
 * It prints `ready` when every object is applied and watched.
 */

import { readFileSync } from 'node:fs';
import { Agent, request } from 'undici';
import { type ApiAccess, RawApi } from '../../hack/cluster/raw-api.ts';
import type { JsonObject } from '../../operator/api/objects.ts';

/** What to keep as it is. `path` is that of the collection. */
export interface KeptObject {
  readonly path: string;
  readonly name: string;
  readonly object: JsonObject;
}

const MANAGER = 'bare-loop';

function versionOf(object: JsonObject): string {
  return String((object.metadata as JsonObject).resourceVersion);
}

async function keep(api: RawApi, access: ApiAccess, { path, name, object }: KeptObject): Promise<void> {
  const apply = async (): Promise<string> => versionOf(await api.apply(`${path}/${name}`, object, MANAGER));
  let applied = await apply();
  const agent = new Agent({
    bodyTimeout: 0,
    connect: { ca: access.caPem, cert: access.certificatePem ?? '', key: access.keyPem ?? '' },
  });
  const url = new URL(path, access.server);
  url.search = `watch=true&fieldSelector=metadata.name%3D${name}&resourceVersion=${applied}`;
  const { body } = await request(url, { dispatcher: agent });
  void follow(body, async (type, seen) => {
    if (type === 'DELETED' || versionOf(seen) !== applied) applied = await apply();
  });
}

async function follow(
  body: AsyncIterable<Buffer>,
  handle: (type: string, object: JsonObject) => Promise<void>,
): Promise<void> {
  let rest = '';
  for await (const chunk of body) {
    const lines = (rest + chunk.toString('utf8')).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const { type, object } = JSON.parse(line) as { type: string; object: JsonObject };
      await handle(type, object);
    }
  }
}

const { access, objects } = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as {
  access: ApiAccess;
  objects: KeptObject[];
};
const api = new RawApi(access);
await Promise.all(objects.map((object) => keep(api, access, object)));
process.stdout.write('ready\n');
