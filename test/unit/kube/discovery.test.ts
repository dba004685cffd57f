import assert from 'node:assert/strict';
import { KubeClient } from '../../../operator/kube/client.ts';
import { Discovery, NoMatchError } from '../../../operator/kube/discovery.ts';
import { ApiError } from '../../../operator/kube/errors.ts';
import { eventually } from '../../support/eventually.ts';
import { answerJson, answerStatus, useFakeApiServer } from '../../support/fake-api-server.ts';

const DEPLOYMENT = { group: 'apps', version: 'v1', kind: 'Deployment' };
const WIDGET = { group: 'x.io', version: 'v1', kind: 'Widget' };

describe('discovery', () => {
  const fake = useFakeApiServer();
  let client: KubeClient;
  let discovery: Discovery;
  let widgets: { name: string; kind: string; namespaced: boolean }[] | undefined;

  beforeEach(() => {
    client = new KubeClient({ config: fake().config });
    discovery = new Discovery(client);
    widgets = undefined;
    fake().script((request, answer) => {
      if (request.path === '/apis/apps/v1') {
        answerJson(answer, {
          resources: [
            { name: 'deployments', kind: 'Deployment', namespaced: true },
            { name: 'deployments/scale', kind: 'Scale', namespaced: true },
          ],
        });
      } else if (request.path === '/apis/x.io/v1' && widgets !== undefined) {
        answerJson(answer, { resources: widgets });
      } else if (request.path === '/apis/broken.io/v1') {
        answerStatus(answer, 503, { message: 'the aggregated API is unavailable' });
      } else {
        answerStatus(answer, 404, { reason: 'NotFound' });
      }
    });
  });
  afterEach(() => client.close());

  it('asks for a group version once, however many ask for its kinds', async () => {
    const all = await Promise.all(Array.from({ length: 10 }, () => discovery.resolve(DEPLOYMENT)));
    assert.deepEqual(all[9], { ...DEPLOYMENT, plural: 'deployments', namespaced: true });
    await discovery.resolve(DEPLOYMENT);
    assert.equal(fake().seen.length, 1);
  });

  it("doesn't take a subresource for a kind", async () => {
    await assert.rejects(discovery.resolve({ ...DEPLOYMENT, kind: 'Scale' }), NoMatchError);
  });

  it('names the kind that nobody serves, in the words of kubectl', async () => {
    await assert.rejects(discovery.resolve(WIDGET), (error: Error) => {
      assert.equal(error.message, 'no matches for kind "Widget" in version "x.io/v1"');
      return error instanceof NoMatchError;
    });
  });

  it('looks a miss up again at most once a second, and finds a kind that has come meanwhile', async () => {
    for (let i = 0; i < 20; i += 1) await assert.rejects(discovery.resolve(WIDGET), NoMatchError);
    assert.equal(fake().seen.length, 1);
    widgets = [{ name: 'widgets', kind: 'Widget', namespaced: false }];
    const found = await eventually(() => discovery.resolve(WIDGET), { what: 'the new kind' });
    assert.deepEqual(found, { ...WIDGET, plural: 'widgets', namespaced: false });
    assert.equal(fake().seen.length, 2);
  });

  it('reads a group anew after it was told to forget it, and only that group', async () => {
    widgets = [{ name: 'widgets', kind: 'Widget', namespaced: true }];
    await discovery.resolve(DEPLOYMENT);
    await discovery.resolve(WIDGET);
    widgets = [{ name: 'widgets', kind: 'Widget', namespaced: false }];
    discovery.forget('x.io');
    assert.equal((await discovery.resolve(WIDGET)).namespaced, false);
    await discovery.resolve(DEPLOYMENT);
    assert.equal(fake().seen.length, 3);
  });

  it('passes on that an API is unavailable: that is not the same as unknown', async () => {
    await assert.rejects(
      discovery.resolve({ group: 'broken.io', version: 'v1', kind: 'Thing' }),
      (error: ApiError) => error instanceof ApiError && error.status === 503,
    );
  });

  it("ends one caller's wait without ending the others'", async () => {
    const opened = Promise.withResolvers<void>();
    fake().script(async (_, answer) => {
      await opened.promise;
      answerJson(answer, { resources: [{ name: 'deployments', kind: 'Deployment', namespaced: true }] });
    });
    const controller = new AbortController();
    const impatient = discovery.resolve(DEPLOYMENT, { signal: controller.signal });
    const patient = discovery.resolve(DEPLOYMENT);
    controller.abort(new Error('enough'));
    await assert.rejects(impatient, /^Error: enough$/);
    opened.resolve();
    assert.equal((await patient).plural, 'deployments');
    assert.equal(fake().seen.length, 1);
  });
});
