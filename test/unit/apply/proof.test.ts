import assert from 'node:assert/strict';
import type { ManagedFieldsEntry, ObjectMeta, StoredObject } from '../../../operator/api/objects.ts';
import { describeValues, fieldSetsOverlap, unionFieldSets } from '../../../operator/apply/field-set.ts';
import {
  acceptedAtFirst,
  agrees,
  needsTakeOver,
  observe,
  proofOf,
  sameFields,
} from '../../../operator/apply/proof.ts';
import { takeOverPatch } from '../../../operator/apply/server-side-apply.ts';

const KEY = Buffer.alloc(32, 7);

const OURS: ManagedFieldsEntry = {
  manager: 'kustomize-controller',
  operation: 'Apply',
  apiVersion: 'apps/v1',
  fieldsType: 'FieldsV1',
  fieldsV1: {
    'f:metadata': {
      'f:labels': {
        'f:app': {},
        'f:kustomize.toolkit.fluxcd.io/name': {},
        'f:kustomize.toolkit.fluxcd.io/namespace': {},
      },
      'f:finalizers': { 'v:"example.com/a"': {}, 'v:"example.com/b"': {} },
    },
    'f:spec': {
      'f:replicas': {},
      'f:selector': {},
      'f:template': {
        'f:spec': {
          'f:containers': {
            'k:{"name":"app"}': {
              '.': {},
              'f:name': {},
              'f:image': {},
              'f:ports': {
                'k:{"containerPort":80,"protocol":"TCP"}': {
                  '.': {},
                  'f:containerPort': {},
                  'f:protocol': {},
                },
              },
            },
            'k:{"name":"side"}': { '.': {}, 'f:name': {}, 'f:image': {} },
          },
        },
      },
    },
  },
};

interface Container {
  name: string;
  image: string;
  ports?: { containerPort: number; protocol: string; name?: string }[];
  terminationMessagePath?: string;
}

/** A Deployment as the API server stores it, with defaults and fields that aren't ours. */
function deployment(): StoredObject<{
  spec: {
    replicas: number;
    revisionHistoryLimit: number;
    selector: { matchLabels: Record<string, string> };
    template: { spec: { containers: Container[] } };
  };
}> {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: {
      name: 'web',
      namespace: 'apps',
      uid: 'u1',
      resourceVersion: '5',
      labels: {
        app: 'web',
        'kustomize.toolkit.fluxcd.io/name': 'apps',
        'kustomize.toolkit.fluxcd.io/namespace': 'flux-system',
        foreign: 'x',
      },
      finalizers: ['example.com/a', 'example.com/b', 'example.com/foreign'],
      managedFields: [structuredClone(OURS)],
    },
    spec: {
      replicas: 2,
      revisionHistoryLimit: 10,
      selector: { matchLabels: { app: 'web' } },
      template: {
        spec: {
          containers: [
            {
              name: 'app',
              image: 'a:1',
              ports: [
                { containerPort: 80, protocol: 'TCP' },
                { containerPort: 80, protocol: 'UDP' },
              ],
              terminationMessagePath: '/dev/termination-log',
            },
            { name: 'injected', image: 'i:1' },
            { name: 'side', image: 's:1' },
          ],
        },
      },
    },
  };
}

type Deployment = ReturnType<typeof deployment>;

function changed(change: (object: Deployment) => void): StoredObject {
  const object = deployment();
  change(object);
  return object;
}

function containers(object: Deployment): Container[] {
  return object.spec.template.spec.containers;
}

function entry(manager: string, o: Partial<ManagedFieldsEntry> = {}): ManagedFieldsEntry {
  return {
    manager,
    operation: 'Update',
    apiVersion: 'apps/v1',
    fieldsV1: { 'f:data': { 'f:x': {} } },
    ...o,
  };
}

describe('an observation', () => {
  const before = observe(deployment(), KEY);

  const drifts: Record<string, (object: Deployment) => void> = {
    'a scaled Deployment': (object) => {
      object.spec.replicas = 5;
    },
    'an image in a keyed list': (object) => {
      Object.assign(containers(object)[2] ?? {}, { image: 's:2' });
    },
    'a removed item of a keyed list': (object) => {
      containers(object).pop();
    },
    'a removed port, told apart by both of its keys': (object) => {
      containers(object)[0]?.ports?.shift();
    },
    'the order of our items': (object) => {
      containers(object).reverse();
    },
    'a removed member of a set': (object) => {
      object.metadata.finalizers = ['example.com/a', 'example.com/foreign'];
    },
    'anything inside a field that is owned as a whole': (object) => {
      object.spec.selector.matchLabels.extra = 'y';
    },
    'a removed owner label': (object) => {
      delete object.metadata.labels?.['kustomize.toolkit.fluxcd.io/name'];
    },
    'fields that somebody else took': (object) => {
      const fields = object.metadata.managedFields?.[0]?.fieldsV1?.['f:spec'];
      delete (fields as Record<string, unknown>)['f:replicas'];
    },
  };
  for (const [what, change] of Object.entries(drifts)) {
    it(`shows ${what}`, () => {
      assert.equal(sameFields(before, observe(changed(change), KEY)), false);
    });
  }

  const indifferent: Record<string, (object: Deployment) => void> = {
    'defaults and other fields that are not ours': (object) => {
      object.spec.revisionHistoryLimit = 3;
      Object.assign(containers(object)[0] ?? {}, { terminationMessagePath: '/other' });
    },
    "another controller's container in between": (object) => {
      containers(object).splice(1, 1);
      containers(object).unshift({ name: 'mesh', image: 'm:1' });
    },
    'foreign labels and finalizers': (object) => {
      object.metadata.labels = { ...object.metadata.labels, other: 'z' };
      object.metadata.finalizers?.unshift('example.com/third');
    },
    'a newer version, a status and a time': (object) => {
      object.metadata.resourceVersion = '6';
      Object.assign(object, { status: { replicas: 2 } });
      Object.assign(object.metadata.managedFields?.[0] ?? {}, { time: '2026-01-01T00:00:00Z' });
    },
    'the order of keys in JSON': (object) => {
      object.spec.selector = JSON.parse('{"matchLabels":{"app":"web"}}');
      containers(object)[0] = { ports: [], ...containers(object)[0] } as Container;
    },
  };
  for (const [what, change] of Object.entries(indifferent)) {
    it(`doesn't mind ${what}`, () => {
      const after = observe(changed(change), KEY);
      assert.equal(sameFields(before, after), true);
      assert.equal(agrees(proofOf(before, false), after), true);
    });
  }

  it('says nothing without the key of the process', () => {
    const other = observe(deployment(), Buffer.alloc(32, 8));
    assert.notEqual(other.valuesDigest, before.valuesDigest);
    assert.doesNotMatch(JSON.stringify(before), /a:1|replicas/);
  });

  const managers: [string, ManagedFieldsEntry, boolean][] = [
    ['kubectl edit', entry('kubectl-edit'), true],
    ['kubectl apply, client-side', entry('kubectl-client-side-apply'), true],
    ['kubectl apply --server-side', entry('kubectl', { operation: 'Apply' }), true],
    ['kubectl scale', entry('kubectl', { subresource: 'scale' }), false],
    ['what was before the first apply', entry('before-first-apply'), true],
    ['a manager of that name by Apply', entry('before-first-apply', { operation: 'Apply' }), false],
    ['our own manager by Update', entry('kustomize-controller'), true],
    ['another controller', entry('kube-controller-manager'), false],
    ['the documented way out', entry('flux-client-side-apply'), false],
  ];
  for (const [who, added, absorbable] of managers) {
    it(`${absorbable ? 'finds' : "doesn't find"} fields to take over from ${who}`, () => {
      const after = observe(
        changed((object) => object.metadata.managedFields?.push(added)),
        KEY,
      );
      assert.deepEqual(after.absorbable, absorbable ? [added.manager] : []);
      assert.equal(agrees(proofOf(before, false), after), !absorbable);
      assert.equal(needsTakeOver(after, acceptedAtFirst(false)), absorbable);
      assert.equal(needsTakeOver(after, acceptedAtFirst(true)), false);
    });
  }

  const controls: [string, ObjectMeta['annotations'], 'leftAlone' | 'merged'][] = [
    ['reconcile: disabled', { 'kustomize.toolkit.fluxcd.io/reconcile': 'Disabled' }, 'leftAlone'],
    ['ssa: Ignore', { 'kustomize.toolkit.fluxcd.io/ssa': 'ignore' }, 'leftAlone'],
    ['ssa: Merge', { 'kustomize.toolkit.fluxcd.io/ssa': 'MERGE' }, 'merged'],
  ];
  for (const [what, annotations, fact] of controls) {
    it(`heeds a live ${what}, as annotation and as label, in any letter case`, () => {
      for (const place of ['annotations', 'labels'] as const) {
        const after = observe(
          changed((object) => Object.assign(object.metadata, { [place]: annotations })),
          KEY,
        );
        assert.equal(after[fact], true);
      }
    });
  }

  it('never agrees with a proof while the object is being deleted', () => {
    const deleting = observe(
      changed((object) => {
        object.metadata.deletionTimestamp = '2026-01-01T00:00:00Z';
      }),
      KEY,
    );
    assert.equal(agrees(proofOf(before, false), deleting), false);
  });
});

describe('field sets', () => {
  it('unite without losing a part of either', () => {
    assert.deepEqual(
      unionFieldSets(
        { 'f:a': { 'f:x': {} }, 'f:b': {} },
        { 'f:a': { 'f:y': {}, 'k:{"name":"n"}': { '.': {} } }, 'f:c': {} },
      ),
      { 'f:a': { 'f:x': {}, 'f:y': {}, 'k:{"name":"n"}': { '.': {} } }, 'f:b': {}, 'f:c': {} },
    );
  });

  it('overlap in fields, not in the parents that lead to them', () => {
    const labels = (name: string) => ({ 'f:metadata': { 'f:labels': { '.': {}, [`f:${name}`]: {} } } });
    assert.equal(fieldSetsOverlap(labels('a'), labels('a')), true);
    assert.equal(fieldSetsOverlap(labels('a'), labels('b')), false);
    assert.equal(fieldSetsOverlap(labels('a'), { 'f:metadata': { 'f:labels': {} } }), true);
  });

  it('tell values apart that merely look alike when put together', () => {
    const fields = { 'f:a': {}, 'f:b': {} };
    const described = [
      { a: 'x', b: 'y' },
      { a: 'x;"f:b"="y"', b: '' },
      { a: null, b: 'y' },
      { b: 'y' },
      { a: 1, b: 'y' },
      { a: '1', b: 'y' },
    ].map((value) => describeValues(fields, value));
    assert.equal(new Set(described).size, described.length);
  });

  it('describe ten thousand keyed items in a time that grows with their number, not its square', () => {
    const items = Array.from({ length: 10_000 }, (_, index) => ({ name: `item-${index}`, v: index }));
    const keys = items.map(({ name }) => [`k:{"name":"${name}"}`, { '.': {}, 'f:v': {} }]);
    const startedMs = performance.now();
    const described = describeValues({ 'f:items': Object.fromEntries(keys) }, { items });
    const tenThousandMs = performance.now() - startedMs;
    assert.match(described, /item-9999/);
    const hundredFromMs = performance.now();
    for (let round = 0; round < 100; round += 1) {
      describeValues({ 'f:items': Object.fromEntries(keys.slice(0, 100)) }, { items: items.slice(0, 100) });
    }
    const hundredTimesHundredMs = performance.now() - hundredFromMs;
    assert.ok(
      tenThousandMs < 20 * hundredTimesHundredMs + 50,
      `${tenThousandMs} ms, ${hundredTimesHundredMs} ms`,
    );
  });
});

describe('a take-over', () => {
  it('makes one entry of ours, keeps other managers and subresources, removes leftovers, on this version only', () => {
    const controller = entry('hpa', { subresource: 'scale' });
    const live = changed((object) => {
      object.metadata.managedFields?.push(entry('kubectl-edit'), controller);
      object.metadata.annotations = {
        'kubectl.kubernetes.io/last-applied-configuration': '{}',
        kept: 'yes',
      };
    });
    const patch = takeOverPatch(live);
    assert.deepEqual(patch[0], { op: 'replace', path: '/metadata/resourceVersion', value: '5' });
    const entries = patch[1]?.value as unknown as ManagedFieldsEntry[];
    assert.deepEqual(
      entries.map(({ manager, operation }) => `${manager} ${operation}`),
      ['kustomize-controller Apply', 'hpa Update'],
    );
    assert.deepEqual(entries[0]?.fieldsV1, { ...OURS.fieldsV1, 'f:data': { 'f:x': {} } });
    assert.deepEqual(patch.slice(2), [
      { op: 'remove', path: '/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration' },
    ]);
  });
});
