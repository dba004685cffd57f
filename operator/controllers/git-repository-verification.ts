/** `spec.verify` of a GitRepository: the keys, what must be signed, and the SourceVerified condition. */

import { REASON } from '../api/conditions.ts';
import type { GitRepository, GitRepositoryStatus } from '../api/git-repository.gen.ts';
import { SECRET } from '../api/resources.ts';
import type { KubeClient } from '../kube/client.ts';
import { failed, type ReconcileContext, stalled } from '../runtime/reconciler.ts';
import type { SecretData } from '../source/credentials.ts';
import { messageOf } from '../source/errors.ts';
import type { RawObjects, ResolvedRevision } from '../source/git.ts';
import { signedCommit, signedTag } from '../source/signed-object.ts';
import {
  readTrustedKeys,
  signerOf,
  type TrustedKeys,
  verificationFingerprint,
} from '../source/verification.ts';
import { SOURCE_VERIFIED } from './git-repository-conditions.ts';

type Context = ReconcileContext<GitRepositoryStatus>;
type Mode = 'HEAD' | 'Tag' | 'TagAndHEAD';
type SecretObject = NonNullable<Awaited<ReturnType<KubeClient['get']>>> & { data?: SecretData };

/** A verification that is due, or that has been passed before. */
export interface Verification {
  mode: Mode;
  keys: TrustedKeys;
  fingerprint: string;
  /** The tag that is followed; undefined when no tag is. */
  tag: string | undefined;
  /** False: this revision passed already, with these keys. */
  isDue: boolean;
}

const TAGS = 'refs/tags/';

/**
 * What `spec.verify` asks for; undefined when nothing, and SourceVerified goes. Ends the pass, SourceVerified being
 * False, when the Secret isn't there or has no keys, or when a tag is to be verified but none is followed.
 */
export async function verificationOf(
  repository: GitRepository,
  head: ResolvedRevision,
  client: KubeClient,
  context: Context,
): Promise<Verification | undefined> {
  const { spec, status } = repository;
  if (spec.verify === undefined) {
    context.claim(SOURCE_VERIFIED, undefined);
    context.record({ sourceVerificationMode: null, sourceVerificationFingerprint: null });
    return undefined;
  }
  const mode = modeOf(spec.verify.mode);
  const data = await readSecret(repository, spec.verify.secretRef.name, client, context);
  const keys = await keysOf(data, context);
  const tag = tagOf(head);
  if (mode !== 'HEAD' && tag === undefined)
    unverified(context, {
      reason: REASON.invalidVerificationMode,
      message: `cannot verify tag object's signature if a tag reference is not specified: spec.verify.mode is ${mode}`,
      isFinal: true,
    });
  const fingerprint = verificationFingerprint(mode, data);
  const passed = status?.conditions?.some(
    ({ type, status: is }) => type === SOURCE_VERIFIED && is === 'True',
  );
  const isDue =
    passed !== true ||
    status?.sourceVerificationFingerprint !== fingerprint ||
    status?.artifact?.revision !== head.revision;
  return { mode, keys, fingerprint, tag, isDue };
}

/** Verifies what was fetched; SourceVerified says who signed. Ends the pass when nobody trusted did. */
export async function verify(
  { mode, keys, fingerprint, tag }: Verification,
  objects: RawObjects & { id: string },
  context: Context,
): Promise<void> {
  const signed: string[] = [];
  if (mode !== 'HEAD') signed.push(await verifyTag(tag ?? '', objects.tag, keys, context));
  if (mode !== 'Tag') {
    const reason = REASON.invalidCommitSignature;
    const signer = await signerOf(signedCommit(objects.commit), keys).catch((error: unknown) =>
      unverified(context, {
        reason,
        message: `signature verification of commit '${objects.id}' failed: ${messageOf(error)}`,
      }),
    );
    signed.push(`commit '${objects.id}' with key '${signer}'`);
  }
  const message = `verified signature of\n\t- ${signed.join('\n\t- ')}`;
  context.claim(SOURCE_VERIFIED, { status: 'True', reason: REASON.succeeded, message });
  context.record({ sourceVerificationMode: mode, sourceVerificationFingerprint: fingerprint });
}

async function verifyTag(
  tag: string,
  raw: Buffer | undefined,
  keys: TrustedKeys,
  context: Context,
): Promise<string> {
  const signed = raw && signedTag(raw);
  if (signed === undefined) {
    const why = raw === undefined ? 'annotated' : 'signed';
    const message = `cannot verify signature of tag '${tag}' since it is not ${why}`;
    return unverified(context, { reason: REASON.invalidGitObject, message });
  }
  const signer = await signerOf(signed, keys).catch((error: unknown) =>
    unverified(context, {
      reason: REASON.invalidTagSignature,
      message: `signature verification of tag '${tag}' failed: ${messageOf(error)}`,
    }),
  );
  return `tag '${tag}' with key '${signer}'`;
}

async function readSecret(
  { metadata: { namespace = '' } }: GitRepository,
  name: string,
  client: KubeClient,
  context: Context,
): Promise<SecretData> {
  const secret = await client.get<SecretObject>(SECRET, { namespace, name }, { signal: context.signal });
  if (secret !== undefined) return secret.data ?? {};
  const message = `Secret ${namespace}/${name}, which spec.verify.secretRef names, does not exist`;
  return unverified(context, { reason: REASON.verificationError, message });
}

async function keysOf(data: SecretData, context: Context): Promise<TrustedKeys> {
  try {
    return await readTrustedKeys(data);
  } catch (error) {
    const message = `the Secret in spec.verify.secretRef cannot be used: ${messageOf(error)}`;
    return unverified(context, { reason: REASON.verificationError, message });
  }
}

function unverified(context: Context, o: { reason: string; message: string; isFinal?: boolean }): never {
  const { reason, message } = o;
  context.claim(SOURCE_VERIFIED, { status: 'False', reason, message });
  return o.isFinal === true ? stalled(reason, message) : failed(reason, message);
}

function modeOf(mode: 'head' | Mode | undefined): Mode {
  return mode === undefined || mode === 'head' ? 'HEAD' : mode;
}

function tagOf({ ref }: ResolvedRevision): string | undefined {
  if (ref.kind === 'tag') return ref.tag;
  return ref.kind === 'name' && ref.name.startsWith(TAGS) ? ref.name.slice(TAGS.length) : undefined;
}
