/**
 * Kubernetes objects as they travel: raw JSON, exactly as written. These types describe what is read most;
 * they never convert, and unknown fields stay where they are.
 */

/** Any JSON value. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** A JSON object. */
export type JsonObject = { [key: string]: Json };

/** `metadata.ownerReferences[]`. */
export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
  blockOwnerDeletion?: boolean;
}

/** `metadata.managedFields[]`; `fieldsV1` is the API server's field-set notation (KEP-555). */
export interface ManagedFieldsEntry {
  manager?: string;
  operation?: 'Apply' | 'Update';
  apiVersion?: string;
  fieldsType?: 'FieldsV1';
  fieldsV1?: JsonObject;
  subresource?: string;
  time?: string;
}

/** `metadata` as far as Signet reads it. Times are RFC 3339 strings; `resourceVersion` is opaque. */
export interface ObjectMeta {
  name?: string;
  generateName?: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  creationTimestamp?: string | null;
  deletionTimestamp?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  finalizers?: string[];
  ownerReferences?: OwnerReference[];
  managedFields?: ManagedFieldsEntry[];
}

/** An object of any kind, as JSON. `Body` types its top-level fields beside the metadata. */
export type KubeObject<Body = { [field: string]: unknown }> = {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
} & Body;

/** An object read from the API server: what it always fills in is there. */
export type StoredObject<Body = { [field: string]: unknown }> = KubeObject<Body> & {
  metadata: ObjectMeta & { name: string; uid: string; resourceVersion: string };
};

/** A custom resource of ours: a spec, and a status that only its controller writes. */
export type CustomResource<Spec, Status> = StoredObject<{ spec: Spec; status?: Status }>;

/** A list answer. */
export interface KubeList<Item = StoredObject> {
  apiVersion: string;
  kind: string;
  metadata: { resourceVersion?: string; continue?: string; remainingItemCount?: number };
  items: Item[];
}

/** `status.conditions[]` (metav1.Condition; SealedSecret's has `lastUpdateTime` too). */
export interface Condition {
  type: string;
  status: 'True' | 'False' | 'Unknown';
  reason?: string;
  message?: string;
  observedGeneration?: number;
  lastTransitionTime?: string;
  lastUpdateTime?: string;
}
