/** The files of one commit, as the archive takes them: no work tree, no filters, the committed bytes. */

/** A name in the tree. Symbolic links are listed, so that they can be told apart, but are never archived. */
export interface TreeEntry {
  /** Relative, `/`-separated, without `.` and `..`. */
  path: string;
  kind: 'file' | 'executable' | 'directory' | 'symlink' | 'submodule';
  /** Names the content; equal ids, equal bytes. */
  oid: string;
  /** Bytes of a file; 0 for what isn't one. */
  sizeBytes: number;
}

/** A commit's tree. */
export interface SourceTree {
  /** A directory before what is in it, otherwise in git's own order: the same tree, the same order. */
  readonly entries: readonly TreeEntry[];
  /**
   * The contents of files of this tree, in the order asked. Each `content` must be used up, or the whole iteration
   * left, before the next is asked for.
   */
  read(files: readonly TreeEntry[], signal: AbortSignal): AsyncIterable<FileContent>;
}

/** A file's bytes, in pieces; `entry.sizeBytes` of them. */
export interface FileContent {
  entry: TreeEntry;
  content: AsyncIterable<Buffer>;
}

/** True for what has bytes of its own in an artifact. */
export function isFile(entry: Pick<TreeEntry, 'kind'>): boolean {
  return entry.kind === 'file' || entry.kind === 'executable';
}
