// Generated from crds/kustomize.toolkit.fluxcd.io_kustomizations.yaml by `npm run generate`: change that file instead.

import type { Condition, CustomResource } from './objects.ts';

/** A folder of a source, built with kustomize and kept applied to a cluster. */
export type Kustomization = CustomResource<KustomizationSpec, KustomizationStatus>;

/** What to build, how to change it on the way, and how to keep it applied. */
export interface KustomizationSpec {
  /** How often to build and compare again when nothing else asks for it, e.g. 10m. Varied by a few percent. */
  interval: string;
  /** How long to wait after a failure before trying again. The interval when absent. */
  retryInterval?: string;
  /** Time limit for build, apply and health checks together; at least 30s. The interval less 30s when absent. */
  timeout?: string;
  /** True deletes from the cluster what has left the source. False leaves it behind, untracked from then on. */
  prune: boolean;
  /** Where the files come from. */
  sourceRef: KustomizationSpecSourceRef;
  /** Folder in the source to build, relative to its root. The root when absent. Can't lead out of the source. */
  path?: string;
  /** True stops everything for this Kustomization. What it applied stays. */
  suspend?: boolean;
  /** True makes Ready wait until every applied object is healthy; healthChecks is then not looked at. */
  wait?: boolean;
  /** True deletes and creates again an object whose change the API server refuses as immutable. Default: false. */
  force?: boolean;
  /** Namespace to put every namespaced object in. */
  targetNamespace?: string;
  /** Text to put before every object's name. */
  namePrefix?: string;
  /** Text to put after every object's name. */
  nameSuffix?: string;
  /** Labels and annotations to set on every object. They win over the object's own. */
  commonMetadata?: KustomizationSpecCommonMetadata;
  /** kustomize components to add, as folders relative to path. */
  components?: string[];
  /** True leaves out components whose folder doesn't exist, instead of failing. */
  ignoreMissingComponents?: boolean;
  /** Patches to apply after the build, in order. */
  patches?: KustomizationSpecPatchesItem[];
  /** Container images to replace. Merged field by field with those in kustomization.yaml. */
  images?: KustomizationSpecImagesItem[];
  /** Where an object came from, to be noted on it as annotations. */
  buildMetadata?: ('originAnnotations' | 'transformerAnnotations')[];
  /** Variables to fill in after the build. */
  postBuild?: KustomizationSpecPostBuild;
  /** How to decrypt what is encrypted in the source. */
  decryption?: KustomizationSpecDecryption;
  /** Another cluster to apply to. The operator's own when absent. */
  kubeConfig?: KustomizationSpecKubeConfig;
  /** ServiceAccount in the same namespace to act as. Its rights then bound what this Kustomization can do. */
  serviceAccountName?: string;
  /** Kustomizations that must be ready before this one is applied. */
  dependsOn?: KustomizationSpecDependsOnItem[];
  /** Objects that must be healthy before Ready. Not looked at with wait. */
  healthChecks?: KustomizationSpecHealthChecksItem[];
  /** How to tell the health of custom resources, as CEL expressions over the object. */
  healthCheckExprs?: KustomizationSpecHealthCheckExprsItem[];
  /** What happens to the applied objects when this Kustomization is deleted. MirrorPrune, which is meant when absent, does as prune says; WaitForTermination deletes and waits until they are gone. */
  deletionPolicy?: 'MirrorPrune' | 'Delete' | 'WaitForTermination' | 'Orphan';
  /** Fields to leave alone when others change them. */
  ignore?: KustomizationSpecIgnoreItem[];
}

/** Where the files come from. */
export interface KustomizationSpecSourceRef {
  /** API version of the source, where its kind alone doesn't tell. */
  apiVersion?: string;
  /** Kind of the source. */
  kind: 'OCIRepository' | 'GitRepository' | 'Bucket' | 'ExternalArtifact';
  /** Name of the source. */
  name: string;
  /** Namespace of the source. The Kustomization's own when absent. */
  namespace?: string;
}

/** Labels and annotations to set on every object. They win over the object's own. */
export interface KustomizationSpecCommonMetadata {
  /** Labels to set. */
  labels?: Record<string, string>;
  /** Annotations to set. */
  annotations?: Record<string, string>;
}

/** One patch, and the objects that it changes. */
export interface KustomizationSpecPatchesItem {
  /** The patch as YAML, either a strategic merge patch or a list of JSON 6902 operations. */
  patch: string;
  /** Which objects to change. Taken from the patch itself when absent. */
  target?: KustomizationSpecPatchesItemTarget;
}

/** Which objects to change. Taken from the patch itself when absent. */
export interface KustomizationSpecPatchesItemTarget {
  /** API group. */
  group?: string;
  /** API version. */
  version?: string;
  /** Kind. */
  kind?: string;
  /** Name, as a regular expression that must match all of it. */
  name?: string;
  /** Namespace, as a regular expression that must match all of it. */
  namespace?: string;
  /** Labels, as a label selector, e.g. app=web. */
  labelSelector?: string;
  /** Annotations, in the syntax of a label selector. */
  annotationSelector?: string;
}

/** One image, and what to replace of it. */
export interface KustomizationSpecImagesItem {
  /** Image as written in the manifests, without tag. */
  name: string;
  /** Image to use instead. */
  newName?: string;
  /** Tag to use instead. */
  newTag?: string;
  /** Digest to use instead. The tag is then not looked at. */
  digest?: string;
}

/** Variables to fill in after the build. */
export interface KustomizationSpecPostBuild {
  /** Values by variable name. They win over substituteFrom. */
  substitute?: Record<string, string>;
  /** ConfigMaps and Secrets in the same namespace to take values from. Later ones win. */
  substituteFrom?: KustomizationSpecPostBuildSubstituteFromItem[];
  /** When to fill in. WithVariables, which is meant when absent, only if there are any variables; Always even if there are none. */
  substituteStrategy?: 'WithVariables' | 'Always';
}

/** One ConfigMap or Secret; each of its keys is a variable. */
export interface KustomizationSpecPostBuildSubstituteFromItem {
  /** ConfigMap or Secret. */
  kind: 'Secret' | 'ConfigMap';
  /** Its name. */
  name: string;
  /** True goes on without it where it doesn't exist. Default: false. */
  optional?: boolean;
}

/** How to decrypt what is encrypted in the source. */
export interface KustomizationSpecDecryption {
  /** Program that encrypted it. */
  provider: 'sops';
  /** Secret in the same namespace with the keys, age in *.agekey entries and PGP in *.asc entries. */
  secretRef?: KustomizationSpecDecryptionSecretRef;
  /** ServiceAccount in the same namespace whose identity asks a key management service to decrypt. */
  serviceAccountName?: string;
}

/** Secret in the same namespace with the keys, age in *.agekey entries and PGP in *.asc entries. */
export interface KustomizationSpecDecryptionSecretRef {
  /** Name of the Secret. */
  name: string;
}

/** Another cluster to apply to. The operator's own when absent. */
export interface KustomizationSpecKubeConfig {
  /** Secret in the same namespace with a kubeconfig. */
  secretRef?: KustomizationSpecKubeConfigSecretRef;
  /** ConfigMap in the same namespace that says how to get in with a platform's own identities. */
  configMapRef?: KustomizationSpecKubeConfigConfigMapRef;
}

/** Secret in the same namespace with a kubeconfig. */
export interface KustomizationSpecKubeConfigSecretRef {
  /** Name of the Secret. */
  name: string;
  /** Entry that holds the kubeconfig. value, else value.yaml, when absent. */
  key?: string;
}

/** ConfigMap in the same namespace that says how to get in with a platform's own identities. */
export interface KustomizationSpecKubeConfigConfigMapRef {
  /** Name of the ConfigMap. */
  name: string;
}

/** One Kustomization to wait for. */
export interface KustomizationSpecDependsOnItem {
  /** Name of the Kustomization. */
  name: string;
  /** Namespace of the Kustomization. This one's own when absent. */
  namespace?: string;
  /** CEL expression over self and dep that decides instead whether it is ready. */
  readyExpr?: string;
}

/** One object to watch. */
export interface KustomizationSpecHealthChecksItem {
  /** API version. apps/v1 when absent. */
  apiVersion?: string;
  /** Kind. */
  kind: string;
  /** Name. */
  name: string;
  /** Namespace. */
  namespace?: string;
}

/** The expressions for one kind, tried as inProgress, failed, current. */
export interface KustomizationSpecHealthCheckExprsItem {
  /** API version of the objects; only its group counts. */
  apiVersion: string;
  /** Kind of the objects. Every kind of the group when absent. */
  kind?: string;
  /** True when the object is healthy. */
  current: string;
  /** True while it is on its way. */
  inProgress?: string;
  /** True when it won't become healthy by itself. */
  failed?: string;
}

/** Fields, and the objects they are in. */
export interface KustomizationSpecIgnoreItem {
  /** Fields as JSON pointers, e.g. /spec/replicas. */
  paths: string[];
  /** Which objects. All of them when absent. */
  target?: KustomizationSpecIgnoreItemTarget;
}

/** Which objects. All of them when absent. */
export interface KustomizationSpecIgnoreItemTarget {
  /** API group. */
  group?: string;
  /** API version. */
  version?: string;
  /** Kind. */
  kind?: string;
  /** Name, as a regular expression that must match all of it. */
  name?: string;
  /** Namespace, as a regular expression that must match all of it. */
  namespace?: string;
  /** Labels, as a label selector, e.g. app=web. */
  labelSelector?: string;
  /** Annotations, in the syntax of a label selector. */
  annotationSelector?: string;
}

/** What was last tried and applied. Written by the controller only. Default: {"observedGeneration":-1}. */
export interface KustomizationStatus {
  /** Generation of the spec that was last dealt with to the end. -1 until the controller has looked. */
  observedGeneration?: number;
  /** State in Kubernetes' usual form. Ready sums up the others. */
  conditions?: Condition[];
  /** Revision of the source that was last applied to the end. */
  lastAppliedRevision?: string;
  /** Revision that the applied source was itself made from, where the source says so. */
  lastAppliedOriginRevision?: string;
  /** Revision of the source that was last tried. */
  lastAttemptedRevision?: string;
  /** The value of the annotation reconcile.fluxcd.io/requestedAt that was last acted on. */
  lastHandledReconcileAt?: string;
  /** Every object that this Kustomization may have in the cluster. Pruning goes by it. */
  inventory?: KustomizationStatusInventory;
  /** The last few different results, newest first. */
  history?: KustomizationStatusHistoryItem[];
}

/** Every object that this Kustomization may have in the cluster. Pruning goes by it. */
export interface KustomizationStatusInventory {
  /** The objects. */
  entries: KustomizationStatusInventoryEntriesItem[];
}

/** One object. */
export interface KustomizationStatusInventoryEntriesItem {
  /** The object as namespace_name_group_kind. */
  id: string;
  /** API version of the object, without its group. */
  v: string;
}

/** One result, and how often it came out. */
export interface KustomizationStatusHistoryItem {
  /** Checksum of the built manifests. */
  digest: string;
  /** When it first came out. */
  firstReconciled: string;
  /** When it last came out. */
  lastReconciled: string;
  /** How long the last time took, e.g. 1.5s. */
  lastReconciledDuration: string;
  /** How it ended, as the reason of Ready. */
  lastReconciledStatus: string;
  /** How often it came out. */
  totalReconciliations: number;
  /** Further facts, e.g. revision. */
  metadata?: Record<string, string>;
}
