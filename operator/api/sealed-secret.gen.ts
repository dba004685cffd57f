// Generated from crds/bitnami.com_sealedsecrets.yaml by `npm run generate`: change that file instead.

import type { Condition, CustomResource, JsonObject } from './objects.ts';

/** A Secret encrypted so that only the cluster can read it. Safe to keep in Git. */
export type SealedSecret = CustomResource<SealedSecretSpec, SealedSecretStatus>;

/** The encrypted items, and what the Secret looks like around them. */
export interface SealedSecretSpec {
  /** The Secret's items, each encrypted on its own and written in base64. Made by kubeseal. */
  encryptedData: Record<string, string>;
  /** A whole Secret encrypted as one. Deprecated; use encryptedData. */
  data?: string;
  /** What the Secret gets beside the decrypted items. */
  template?: SealedSecretSpecTemplate;
}

/** What the Secret gets beside the decrypted items. */
export interface SealedSecretSpecTemplate {
  /** Labels, annotations and the like for the Secret. Its name and namespace are always the SealedSecret's. */
  metadata?: JsonObject | null;
  /** Type of the Secret, e.g. kubernetes.io/tls. Opaque when absent. */
  type?: string;
  /** True makes the Secret immutable. Only counts when the Secret is created. */
  immutable?: boolean;
  /** Further items as Go templates over the decrypted ones. A null value can be used by other templates but stays out of the Secret. */
  data?: Record<string, string | null> | null;
}

/** How the last unsealing went. Written by the controller only. */
export interface SealedSecretStatus {
  /** Generation of the spec that was last dealt with. */
  observedGeneration?: number;
  /** State in Kubernetes' usual form. Synced says whether the Secret is as it should be. */
  conditions?: Condition[];
}
