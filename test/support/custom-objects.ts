import type { JsonObject } from '../../operator/api/objects.ts';
import { apiVersionOf, type ResourceType } from '../../operator/api/resources.ts';
import type { World } from './world.ts';

/** The least that a GitRepository's spec must say. */
export const MINIMAL_GIT_REPOSITORY: JsonObject = {
  url: 'https://git.example.com/fleet.git',
  interval: '1m',
};

/** The least that a Kustomization's spec must say. */
export const MINIMAL_KUSTOMIZATION: JsonObject = {
  interval: '10m',
  prune: true,
  sourceRef: { kind: 'GitRepository', name: 'fleet' },
};

/** An object of one of our kinds, named `a`. */
export function customObject(type: ResourceType, spec: JsonObject): JsonObject {
  return { apiVersion: apiVersionOf(type), kind: type.kind, metadata: { name: 'a' }, spec };
}

/** Creates {@link customObject} in the world's namespace; answers what the API server stored. */
export async function createCustom(
  world: World,
  type: ResourceType,
  spec: JsonObject,
): Promise<{ spec: JsonObject; status?: JsonObject }> {
  const stored = await world.api.create(collectionOf(world, type), customObject(type, spec));
  return stored as { spec: JsonObject; status?: JsonObject };
}

/** The path of the kind's collection in the world's namespace. */
export function collectionOf(world: World, type: ResourceType): string {
  return world.path(apiVersionOf(type), type.plural);
}
