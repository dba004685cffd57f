import { REASON } from '../api/conditions.ts';

/**
 * A build that failed, for `status`: `reason` is `ArtifactFailed` when the path isn't in the artifact, else
 * `BuildFailed`; the message names the file or object, by its path in the artifact, and shows no content.
 */
export class BuildError extends Error {
  readonly reason: typeof REASON.buildFailed | typeof REASON.artifactFailed;

  constructor(message: string, options: { reason?: typeof REASON.artifactFailed; cause?: unknown } = {}) {
    super(withoutContent(message.replace(TRIED_AS_DIRECTORY, '$1')), { cause: options.cause });
    this.name = 'BuildError';
    this.reason = options.reason ?? REASON.buildFailed;
  }
}

/** When a resource is no manifest, kustomize also tries it as a directory and says that it isn't one, which misleads. */
const TRIED_AS_DIRECTORY =
  /accumulation err='((?:(?!accumulation err=')[\s\S])*)': must build at directory: '[^']*': file is not directory/g;

/**
 * Where kustomize 5.8 quotes content in its errors (a Secret generator's literals, an inline patch, a whole object), and
 * what stands there instead. Credentials in URLs go too.
 */
const CONTENT: ReadonlyArray<readonly [pattern: RegExp, replacement: string]> = [
  [/ with config: `\n[\s\S]*`: /g, ': '],
  [/\[patch: "(?:[^"\\]|\\.)*"\]/g, 'an inline patch'],
  [/(patch and path(?: in| can't be set at the same time))\n[\s\S]*/g, '$1'],
  [/((?:merging from|origin annotations for) generator) &\{[\s\S]*\}: /g, '$1: '],
  [/(literal sources) \[[\s\S]*\]: /g, '$1: '],
  [/(invalid literal source) [\s\S]*(, expected key=value)/g, '$1$2'],
  [/line \[[\d ]*\] has (invalid utf8 bytes) : [\s\S]*/g, '$1'],
  [/( for the following resource):\n[\s\S]*/g, '$1'],
  [/(validator shouldn't modify the resource map): [\s\S]*/g, '$1'],
  [/(in object \{\{[^{}]*\}) \{\{([^{}]*)\} map\[[\s\S]*?\}\}/g, '$1 {$2}}'],
  [/([a-z][a-z0-9+.-]*:\/\/)[^/\s'"@]*@/gi, '$1'],
];

function withoutContent(message: string): string {
  return CONTENT.reduce((text, [pattern, replacement]) => text.replace(pattern, replacement), message).trim();
}
