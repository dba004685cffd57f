import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseAllDocuments } from 'yaml';
import type { JsonObject } from '../../operator/api/objects.ts';
import type { RawApi } from './raw-api.ts';

const FIELD_MANAGER = 'signet-crds';
const POLL_MS = 50;
const TIMEOUT_MS = 30_000;

/**
 * Applies every CustomResourceDefinition in a folder's *.yaml files (server-side) and resolves when the API server
 * serves them. Rejects with the API server's message when it refuses one.
 */
export async function installCrds(api: RawApi, directory: string): Promise<void> {
  const files = readdirSync(directory).filter((name) => name.endsWith('.yaml'));
  const definitions = files.flatMap((name) =>
    parseAllDocuments(readFileSync(join(directory, name), 'utf8')).map(
      (document) => document.toJS() as JsonObject,
    ),
  );
  const paths = definitions.map((definition) => {
    const metadata = definition.metadata as JsonObject;
    return `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${String(metadata.name)}`;
  });
  await Promise.all(
    definitions.map((definition, index) => api.apply(paths[index] ?? '', definition, FIELD_MANAGER)),
  );
  await Promise.all(paths.map((path) => waitUntilServed(api, path)));
}

async function waitUntilServed(api: RawApi, path: string): Promise<void> {
  const deadline = performance.now() + TIMEOUT_MS;
  for (;;) {
    const definition = await api.get(path);
    if (definition !== undefined && isEstablished(definition) && (await answersLists(api, definition)))
      return;
    if (performance.now() > deadline) throw new Error(`${path} isn't served after ${TIMEOUT_MS / 1000} s`);
    await sleep(POLL_MS);
  }
}

function isEstablished(definition: JsonObject): boolean {
  const status = definition.status as { conditions?: { type: string; status: string }[] } | undefined;
  return (status?.conditions ?? []).some(
    ({ type, status: value }) => type === 'Established' && value === 'True',
  );
}

// An established kind answers 404 or 429 for another moment.
async function answersLists(api: RawApi, definition: JsonObject): Promise<boolean> {
  const spec = definition.spec as {
    group: string;
    names: { plural: string };
    versions: { name: string; served: boolean }[];
  };
  const served = spec.versions.filter((version) => version.served);
  const answers = await Promise.all(
    served.map((version) =>
      api.call('GET', `/apis/${spec.group}/${version.name}/${spec.names.plural}?limit=1`),
    ),
  );
  return answers.every((answer) => answer.status === 200);
}
