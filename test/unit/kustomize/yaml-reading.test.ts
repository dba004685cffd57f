import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { BuildWorkers } from '../../../operator/kustomize/build-worker.ts';
import { makeArtifact } from '../../support/artifact.ts';
import { build, kustomizeCli, startBuildWorkers, TOOL_TIMEOUT_MS } from '../../support/kustomize.ts';
import { toolPath } from '../../support/tool-path.ts';

/** What stands in a manifest -> what `kubectl apply -k` sends, as JSON text. */
const TABLE: ReadonlyArray<readonly [written: string, sent: string]> = [
  ['yes', '"yes"'],
  ['no', '"no"'],
  ['on', '"on"'],
  ['off', '"off"'],
  ['y', '"y"'],
  ['true', 'true'],
  ['True', 'true'],
  ['~', 'null'],
  ['010', '8'],
  ['0o10', '8'],
  ['0x1F', '31'],
  ['0b11', '3'],
  ['1_000', '1000'],
  ['22:22', '"22:22"'],
  ['2001-12-14', '"2001-12-14T00:00:00Z"'],
  ['"2001-12-14"', '"2001-12-14"'],
  ['1e3', '1000'],
  ['1.10', '1.1'],
  ['3.0', '3'],
  ['.5', '0.5'],
  ['9007199254740991', '9007199254740991'],
  ['9007199254740993', '9007199254740993'],
  ['-9007199254740993', '-9007199254740993'],
  ['9223372036854775807', '9223372036854775807'],
  ['18446744073709551615', '18446744073709551615'],
  ['"9007199254740993"', '"9007199254740993"'],
  ['!!binary aGVsbG8=', '"hello"'],
  ['!!str 12', '"12"'],
  ['&anchor text', '"text"'],
];

describe('a manifest in YAML', () => {
  let workers: BuildWorkers;
  before(async function () {
    this.timeout(TOOL_TIMEOUT_MS);
    await toolPath('kustomize');
    workers = await startBuildWorkers({ size: 1 });
  });
  after(() => workers.close());

  const manifest = (value: string): string =>
    `apiVersion: example.org/v1\nkind: Any\nmetadata: {name: any}\nvalue: ${value}\n`;

  for (const [written, sent] of TABLE) {
    it(`is read as kustomize reads it, exact to the wire: ${written} is ${sent}`, async () => {
      await using artifact = await makeArtifact({
        'a.yaml': manifest(written),
        'said/kustomization.yaml': 'resources: [a.yaml]\n',
        'said/a.yaml': manifest(sent),
        'kustomization.yaml': 'resources: [a.yaml]\n',
      });
      const { objects } = await build(workers, artifact.root);
      assert.equal(JSON.stringify(objects[0]?.value), sent);
      assert.equal(
        await kustomizeCli(artifact.root),
        await kustomizeCli(join(artifact.root, 'said')),
        'the table is wrong: the stock kustomize reads it otherwise',
      );
    });
  }
});
