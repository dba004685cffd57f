import { X509Certificate } from 'node:crypto';
import type { KubeObject } from '../api/objects.ts';
import { BuildError } from './build-error.ts';

type Fields = Record<string, unknown>;

/**
 * The objects to apply among those built, in their order: `List` kinds expanded, kustomization files dropped, each
 * normalised as Flux does before it applies. Changes the objects given. Throws {@link BuildError} for an object without
 * apiVersion, kind or name, and for one that is built twice (in any version), naming it.
 */
export function manifestsOf(built: Iterable<unknown>): KubeObject[] {
  const objects = [...built].flatMap(expandList).filter((object) => !isKustomizationFile(object));
  const seen = new Map<string, string>();
  return objects.map((object) => {
    const manifest = identified(object);
    const { apiVersion, kind, metadata } = manifest;
    const key = JSON.stringify([groupOf(apiVersion), kind, metadata.namespace, metadata.name]);
    const first = seen.get(key);
    if (first !== undefined) {
      throw new BuildError(`${nameOf(manifest)} is built twice (${first} and ${apiVersion}): keep one`);
    }
    seen.set(key, apiVersion);
    return normalise(manifest);
  });
}

/** Sets the labels and annotations on every object, over those it has (`spec.commonMetadata`). Changes the objects. */
export function applyCommonMetadata(
  objects: readonly KubeObject[],
  common: { labels?: Record<string, string>; annotations?: Record<string, string> },
): void {
  for (const { metadata } of objects) {
    if (common.labels !== undefined) metadata.labels = { ...metadata.labels, ...common.labels };
    if (common.annotations !== undefined) {
      metadata.annotations = { ...metadata.annotations, ...common.annotations };
    }
  }
}

function expandList(object: unknown): unknown[] {
  const fields = fieldsOf(object);
  const isList = typeof fields?.kind === 'string' && fields.kind.endsWith('List');
  return isList && Array.isArray(fields.items) ? fields.items.flatMap(expandList) : [object];
}

function isKustomizationFile(object: unknown): boolean {
  const fields = fieldsOf(object);
  return fields?.kind === 'Kustomization' && groupOf(String(fields.apiVersion)) === 'kustomize.config.k8s.io';
}

function identified(object: unknown): KubeObject {
  const fields = fieldsOf(object) ?? {};
  const metadata = fieldsOf(fields.metadata);
  const missing = [
    ...['apiVersion', 'kind'].filter((field) => !isText(fields[field])),
    ...(isText(metadata?.name) ? [] : ['metadata.name']),
  ];
  if (missing.length > 0) {
    const known = [fields.kind, metadata?.namespace, metadata?.name].filter(isText).join('/');
    throw new BuildError(`an object of the build (${known || 'of no kind'}) has no ${missing.join(', no ')}`);
  }
  return fields as KubeObject;
}

function normalise(object: KubeObject): KubeObject {
  const group = groupOf(object.apiVersion);
  const isDefinition = group === 'apiextensions.k8s.io' && object.kind === 'CustomResourceDefinition';
  delete object.metadata.creationTimestamp;
  if (isDefinition) removeBadCaBundle(object);
  else delete object.status;
  if (group === '' && object.kind === 'Secret') encodeStringData(object);
  if (group === '' && object.kind === 'Service') defaultProtocol(fieldsOf(object.spec)?.ports);
  for (const template of podTemplates(group, object)) {
    delete fieldsOf(template.metadata)?.creationTimestamp;
    const spec = fieldsOf(template.spec);
    for (const containers of [spec?.containers, spec?.initContainers]) {
      for (const container of listOf(containers)) defaultProtocol(fieldsOf(container)?.ports);
    }
  }
  return object;
}

/** No `protocol` means TCP; server-side apply keys ports by it and can mistake two ports for one without. */
function defaultProtocol(ports: unknown): void {
  for (const port of listOf(ports)) {
    const fields = fieldsOf(port);
    if (fields !== undefined) fields.protocol ||= 'TCP';
  }
}

/** As the API server would do on write; until then a later apply could not remove a key. `stringData` wins over `data`. */
function encodeStringData(secret: KubeObject): void {
  const stringData = fieldsOf(secret.stringData);
  if (stringData === undefined) return;
  const entries = Object.entries(stringData);
  if (!entries.every(([, value]) => value === null || typeof value === 'string')) return;
  const encoded = entries.map(([key, value]) => [key, Buffer.from(String(value ?? '')).toString('base64')]);
  secret.data = { ...fieldsOf(secret.data), ...Object.fromEntries(encoded) };
  delete secret.stringData;
}

/** A placeholder in `caBundle` (`Cg==`), which cert-manager's injector replaces, would make the definition invalid. */
function removeBadCaBundle(definition: KubeObject): void {
  const webhook = fieldsOf(fieldsOf(fieldsOf(definition.spec)?.conversion)?.webhook);
  const clientConfig = fieldsOf(webhook?.clientConfig);
  if (clientConfig?.caBundle === undefined) return;
  try {
    new X509Certificate(Buffer.from(String(clientConfig.caBundle), 'base64'));
  } catch {
    delete clientConfig.caBundle;
  }
}

const TEMPLATED = new Set([
  'Deployment',
  'StatefulSet',
  'DaemonSet',
  'ReplicaSet',
  'Job',
  'ReplicationController',
]);

function podTemplates(group: string, object: KubeObject): Fields[] {
  if (!['', 'apps', 'batch'].includes(group)) return [];
  if (object.kind === 'Pod') return [object];
  const spec = fieldsOf(object.spec);
  const job = object.kind === 'CronJob' ? fieldsOf(spec?.jobTemplate) : undefined;
  const holder = TEMPLATED.has(object.kind) ? spec : fieldsOf(job?.spec);
  delete fieldsOf(job?.metadata)?.creationTimestamp;
  const template = fieldsOf(holder?.template);
  return template === undefined ? [] : [template];
}

function nameOf({ kind, metadata }: KubeObject): string {
  return [kind, metadata.namespace, metadata.name].filter(isText).join('/');
}

function groupOf(apiVersion: string): string {
  const slash = apiVersion.indexOf('/');
  return slash < 0 ? '' : apiVersion.slice(0, slash);
}

function fieldsOf(value: unknown): Fields | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
}

function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}
