import assert from 'node:assert/strict';
import { IgnoreRules, selectEntries } from '../../../operator/source/ignore-rules.ts';
import { isFile } from '../../../operator/source/source-tree.ts';
import { type HandMade, sourceTree } from '../../support/source-tree.ts';

async function kept(files: Record<string, HandMade> | string[], ignore?: string): Promise<string[]> {
  const tree = sourceTree(
    Array.isArray(files) ? Object.fromEntries(files.map((path) => [path, path])) : files,
  );
  const entries = await selectEntries(tree, ignore, new AbortController().signal);
  return entries.filter(isFile).map(({ path }) => path);
}

describe('what goes into an artifact', () => {
  it('is not what belongs to version control, pictures, archives and CI', async () => {
    const dropped = [
      ...['.gitignore', 'a/.gitattributes', '.gitmodules', 'logo.png', 'a/b/photo.jpeg', 'x.tar.gz', 'x.zip'],
      ...['.github/workflows/ci.yaml', 'a/.circleci/config.yml', '.travis.yml', 'a/.sops.yaml', '.flux.yaml'],
    ];
    assert.deepEqual(await kept([...dropped, 'a/deploy.yaml', 'x.tar', 'LOGO.PNG']), [
      'LOGO.PNG',
      'a/deploy.yaml',
      'x.tar',
    ]);
  });

  it('keeps pictures once there are rules of its own, but never version control', async () => {
    assert.deepEqual(await kept(['.gitignore', 'logo.png', 'a.md', 'b.yaml'], '*.md'), [
      'b.yaml',
      'logo.png',
    ]);
    assert.deepEqual(await kept(['logo.png', 'b.yaml'], '# only a comment\n\n'), ['b.yaml']);
  });

  it('follows .sourceignore files, each in its directory', async () => {
    const files = {
      '.sourceignore': '/top\n*.txt\n',
      'top/x.yaml': '',
      'sub/top/y.yaml': '',
      'sub/.sourceignore': '/only-here\n!keep.txt\n',
      'sub/only-here': '',
      'sub/keep.txt': '',
      'keep.txt': '',
      'only-here': '',
    };
    assert.deepEqual(await kept(files), [
      '.sourceignore',
      'only-here',
      'sub/.sourceignore',
      'sub/keep.txt',
      'sub/top/y.yaml',
    ]);
  });

  it('lets spec.ignore have the last word over .sourceignore', async () => {
    const files = { '.sourceignore': '*.md\n', 'a.md': '', 'b.md': '' };
    assert.deepEqual(await kept(files, '!a.md'), ['.sourceignore', 'a.md']);
  });

  it('can be one directory taken back from everything, at any depth', async () => {
    const files = [
      'README.md',
      'deploy/app.yaml',
      'deploy/notes.md',
      'clusters/prod/a.yaml',
      'clusters/test/b.yaml',
    ];
    assert.deepEqual(await kept(files, '/*\n!/deploy\n/deploy/**/*.md'), ['deploy/app.yaml']);
    assert.deepEqual(await kept(files, '/*\n!/clusters/prod'), ['clusters/prod/a.yaml']);
  });

  it('leaves symbolic links out, and shows a submodule as an empty directory', async () => {
    const tree = sourceTree({
      link: { kind: 'symlink', content: '/etc/passwd' },
      'mods/x': { kind: 'submodule' },
    });
    const entries = await selectEntries(tree, undefined, new AbortController().signal);
    assert.deepEqual(
      entries.map(({ path, kind }) => [path, kind]),
      [
        ['mods', 'directory'],
        ['mods/x', 'submodule'],
      ],
    );
  });

  it('is decided even by rules that make no sense', async () => {
    assert.deepEqual(await kept(['a.yaml'], '[\n\\\n!\n**x[\n(?<x\n/'), ['a.yaml']);
  });

  it('tells names apart by case', () => {
    const rules = new IgnoreRules().add('Docs/');
    assert.equal(rules.decide('docs/a', false), undefined);
    assert.equal(rules.decide('Docs/a', false), 'left out');
  });
});
