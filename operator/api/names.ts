/**
 * The load-bearing names: what clusters already contain and what other programs look for.
 * They are Flux's and Sealed Secrets' own, so that existing objects, CLIs and dashboards go on working.
 */

/** Owner labels on every applied object: Flux's CLI (`trace`, `tree`) and its garbage collector read them. */
export const OWNER_NAME_LABEL = 'kustomize.toolkit.fluxcd.io/name';
export const OWNER_NAMESPACE_LABEL = 'kustomize.toolkit.fluxcd.io/namespace';

/** Server-side apply identity of applied objects: sharing Flux's lets either take over without a conflict. */
export const APPLY_FIELD_MANAGER = 'kustomize-controller';

/** Writers of status: Flux's own names, so that a predecessor's status fields are ours to change. */
export const KUSTOMIZATION_STATUS_MANAGER = 'gotk-kustomize-controller';
export const GIT_REPOSITORY_STATUS_MANAGER = 'source-controller';

/** Sealed Secrets' controller writes by Update under this name (its binary's). */
export const SEALED_SECRETS_FIELD_MANAGER = 'controller';

/** Flux's finalizer on sources and Kustomizations: `flux uninstall` strips it. */
export const FINALIZER = 'finalizers.fluxcd.io';

/** `flux reconcile` writes any new value; it is copied verbatim to `status.lastHandledReconcileAt`. */
export const RECONCILE_REQUEST_ANNOTATION = 'reconcile.fluxcd.io/requestedAt';

/**
 * On a GitRepository: who calls its webhook (`github`, `gitlab` …), the Secret whose key `token` both sides know, and
 * the events that count (all without it). A Flux `Receiver` says the same in a kind of its own.
 */
export const WEBHOOK_ANNOTATION = 'signet.dev/webhook';
export const WEBHOOK_SECRET_ANNOTATION = 'signet.dev/webhook-secret';
export const WEBHOOK_EVENTS_ANNOTATION = 'signet.dev/webhook-events';

/** Per-object controls, as label or annotation: Flux's prefix. */
export const KUSTOMIZE_CONTROL_PREFIX = 'kustomize.toolkit.fluxcd.io';

/** Event annotations that `flux events` and notification providers read. */
export const KUSTOMIZATION_REVISION_ANNOTATION = 'kustomize.toolkit.fluxcd.io/revision';
export const SOURCE_REVISION_ANNOTATION = 'source.toolkit.fluxcd.io/revision';
export const SOURCE_DIGEST_ANNOTATION = 'source.toolkit.fluxcd.io/digest';

/** Field managers whose fields a take-over absorbs, as Flux does: what `kubectl` wrote gives way to Git. */
export const ABSORBED_MANAGER_PREFIX = 'kubectl';
export const BEFORE_FIRST_APPLY_MANAGER = 'before-first-apply';

/** Left behind by client-side apply and by Flux v1; removed on take-over. */
export const OBSOLETE_ANNOTATIONS = [
  'kubectl.kubernetes.io/last-applied-configuration',
  'kustomize.toolkit.fluxcd.io/checksum',
  'fluxcd.io/sync-checksum',
] as const;
export const OBSOLETE_LABELS = ['fluxcd.io/sync-gc-mark'] as const;

/** A sealing key Secret is one labelled so with {@link SEALING_KEY_ACTIVE}; backups select on the label. */
export const SEALING_KEY_LABEL = 'sealedsecrets.bitnami.com/sealed-secrets-key';
export const SEALING_KEY_ACTIVE = 'active';

/** Scope annotations on a SealedSecret: they select the OAEP label. Only the exact string `true` counts. */
export const NAMESPACE_WIDE_ANNOTATION = 'sealedsecrets.bitnami.com/namespace-wide';
export const CLUSTER_WIDE_ANNOTATION = 'sealedsecrets.bitnami.com/cluster-wide';

/** On an existing Secret: the SealedSecret may take it over, or add to it. */
export const MANAGED_ANNOTATION = 'sealedsecrets.bitnami.com/managed';
export const PATCH_ANNOTATION = 'sealedsecrets.bitnami.com/patch';
export const SKIP_SET_OWNER_ANNOTATION = 'sealedsecrets.bitnami.com/skip-set-owner-references';

/** Written by us on a Secret with generated values: the digest of the SealedSecret's spec that they were made from. */
export const GENERATED_FROM_ANNOTATION = 'sealedsecrets.signet.dev/generated-from';
