// Generated from crds/source.toolkit.fluxcd.io_gitrepositories.yaml by `npm run generate`: change that file instead.

import type { Condition, CustomResource } from './objects.ts';

/** A Git repository to follow. Each new revision becomes an artifact that Kustomizations build from. */
export type GitRepository = CustomResource<GitRepositorySpec, GitRepositoryStatus>;

/** Which repository to follow, how to reach it, and what of it to publish. */
export interface GitRepositorySpec {
  /** Address of the repository, http://, https:// or ssh://. Write git@host:path as ssh://git@host/path. */
  url: string;
  /** How often to look for a new revision, e.g. 1m or 1h30m. Varied by a few percent so that repositories don't all poll at once. */
  interval: string;
  /** Time limit for one conversation with the Git server, e.g. 60s or 2m. Hours are not accepted. Default: "60s". */
  timeout?: string;
  /** What to check out. Where several are set, commit wins over name, name over tag, tag over semver, semver over branch. Without it, branch master. */
  ref?: GitRepositorySpecRef;
  /** Secret in the same namespace with the credentials. For HTTP username and password or bearerToken, and ca.crt, tls.crt and tls.key where needed; for SSH identity and known_hosts. */
  secretRef?: GitRepositorySpecSecretRef;
  /** Where credentials come from. generic uses secretRef; the others use the platform's own identities. Treated as generic when absent. */
  provider?: 'generic' | 'aws' | 'azure' | 'github';
  /** ServiceAccount in the same namespace whose identity asks the platform for credentials. Only with provider aws or azure. */
  serviceAccountName?: string;
  /** Signature that a revision must carry before it is published. */
  verify?: GitRepositorySpecVerify;
  /** Secret in the same namespace that names the proxy to go through, with address and, where the proxy asks, username and password. */
  proxySecretRef?: GitRepositorySpecProxySecretRef;
  /** Files to leave out of the artifact, in .gitignore syntax. Comes after the repository's own .sourceignore files and so wins over them. */
  ignore?: string;
  /** True stops looking for new revisions. The last artifact stays available. */
  suspend?: boolean;
  /** True checks out submodules too, with this repository's credentials. */
  recurseSubmodules?: boolean;
  /** Other GitRepositories of the same namespace whose content is copied into this artifact. */
  include?: GitRepositorySpecIncludeItem[];
  /** Folders to check out, where not the whole tree is wanted. A folder that doesn't exist is an error. */
  sparseCheckout?: string[];
}

/** What to check out. Where several are set, commit wins over name, name over tag, tag over semver, semver over branch. Without it, branch master. */
export interface GitRepositorySpecRef {
  /** Branch to follow. With commit, the branch that the commit is looked for on. */
  branch?: string;
  /** Tag to check out. An annotated tag stands for the commit it points to. */
  tag?: string;
  /** Range of versions, e.g. ">=1.0.0 <2.0.0"; the newest tag within it is checked out. */
  semver?: string;
  /** Full reference, e.g. refs/heads/main, refs/tags/v1.0.0 or refs/pull/1/head. */
  name?: string;
  /** Commit to check out, as its full SHA-1. */
  commit?: string;
}

/** Secret in the same namespace with the credentials. For HTTP username and password or bearerToken, and ca.crt, tls.crt and tls.key where needed; for SSH identity and known_hosts. */
export interface GitRepositorySpecSecretRef {
  /** Name of the Secret. */
  name: string;
}

/** Signature that a revision must carry before it is published. */
export interface GitRepositorySpecVerify {
  /** What must be signed. HEAD is the commit checked out, Tag the annotated tag, TagAndHEAD both; head is an older spelling of HEAD. Default: "HEAD". */
  mode?: 'head' | 'HEAD' | 'Tag' | 'TagAndHEAD';
  /** Secret in the same namespace with the trusted public keys, PGP in *.asc entries and SSH in *.sshpub entries. Any one of them suffices. */
  secretRef: GitRepositorySpecVerifySecretRef;
}

/** Secret in the same namespace with the trusted public keys, PGP in *.asc entries and SSH in *.sshpub entries. Any one of them suffices. */
export interface GitRepositorySpecVerifySecretRef {
  /** Name of the Secret. */
  name: string;
}

/** Secret in the same namespace that names the proxy to go through, with address and, where the proxy asks, username and password. */
export interface GitRepositorySpecProxySecretRef {
  /** Name of the Secret. */
  name: string;
}

/** One repository to copy from, and which folder goes where. */
export interface GitRepositorySpecIncludeItem {
  /** The GitRepository to copy from. */
  repository: GitRepositorySpecIncludeItemRepository;
  /** Folder in the other repository to copy. Everything when absent. */
  fromPath?: string;
  /** Folder in this artifact to copy to. The other repository's name when absent. */
  toPath?: string;
}

/** The GitRepository to copy from. */
export interface GitRepositorySpecIncludeItemRepository {
  /** Name of the GitRepository. */
  name: string;
}

/** What was last seen and published. Written by the controller only. Default: {"observedGeneration":-1}. */
export interface GitRepositoryStatus {
  /** Generation of the spec that the conditions are about. -1 until the controller has looked. */
  observedGeneration?: number;
  /** State in Kubernetes' usual form. Ready sums up the others. */
  conditions?: Condition[];
  /** Where the git server says that somebody pushed, if the annotation signet.dev/webhook asks for it. */
  webhookPath?: string;
  /** The last revision published. */
  artifact?: GitRepositoryStatusArtifact;
  /** The artifacts that spec.include copied from. */
  includedArtifacts?: GitRepositoryStatusIncludedArtifactsItem[];
  /** The spec.ignore that the artifact was made with. */
  observedIgnore?: string;
  /** The spec.recurseSubmodules that the artifact was made with. */
  observedRecurseSubmodules?: boolean;
  /** The spec.include that the artifact was made with. */
  observedInclude?: GitRepositoryStatusObservedIncludeItem[];
  /** The spec.sparseCheckout that the artifact was made with. */
  observedSparseCheckout?: string[];
  /** The spec.verify.mode that the artifact's revision passed. */
  sourceVerificationMode?: string;
  /** Stands for the mode and keys that the revision was verified with; a change means verifying again. */
  sourceVerificationFingerprint?: string;
  /** The value of the annotation reconcile.fluxcd.io/requestedAt that was last acted on. */
  lastHandledReconcileAt?: string;
}

/** The last revision published. */
export interface GitRepositoryStatusArtifact {
  /** Path of the file below the storage root. */
  path: string;
  /** Address to download the file from, inside the cluster. */
  url: string;
  /** What it was made from, e.g. main@sha1:<commit>. */
  revision: string;
  /** Checksum of the file, as algorithm:value. */
  digest: string;
  /** When it was published. */
  lastUpdateTime: string;
  /** Bytes in the file. */
  size?: number;
  /** Further facts about the revision. */
  metadata?: Record<string, string>;
}

/** One artifact copied from. */
export interface GitRepositoryStatusIncludedArtifactsItem {
  /** Path of the file below the storage root. */
  path: string;
  /** Address to download the file from, inside the cluster. */
  url: string;
  /** What it was made from, e.g. main@sha1:<commit>. */
  revision: string;
  /** Checksum of the file, as algorithm:value. */
  digest: string;
  /** When it was published. */
  lastUpdateTime: string;
  /** Bytes in the file. */
  size?: number;
  /** Further facts about the revision. */
  metadata?: Record<string, string>;
}

/** One repository copied from. */
export interface GitRepositoryStatusObservedIncludeItem {
  /** The GitRepository copied from. */
  repository: GitRepositoryStatusObservedIncludeItemRepository;
  /** Folder copied from. */
  fromPath?: string;
  /** Folder copied to. */
  toPath?: string;
}

/** The GitRepository copied from. */
export interface GitRepositoryStatusObservedIncludeItemRepository {
  /** Name of the GitRepository. */
  name: string;
}
