import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { ControlPlane } from '../../hack/cluster/control-plane.ts';
import type { RawApi } from '../../hack/cluster/raw-api.ts';
import { sharedControlPlane } from './control-plane.ts';
import { eventually } from './eventually.ts';

const FIRST_START_TIMEOUT_MS = 15 * 60 * 1000;

/** One entry of the API server's audit log, as far as tests read it. */
export interface AuditEntry {
  readonly verb: string;
  readonly requestURI: string;
  readonly user: { readonly username: string };
  readonly userAgent?: string;
  readonly objectRef?: {
    readonly resource?: string;
    readonly namespace?: string;
    readonly name?: string;
    readonly subresource?: string;
  };
  readonly responseStatus?: { readonly code?: number };
}

/** A test's place in the shared control plane: an empty namespace of its own, and ways to look at the API server. */
export class World {
  readonly controlPlane: ControlPlane;
  /** A fresh namespace, its default service account there; deleted after the test (without waiting for its end). */
  readonly namespace: string;

  constructor(controlPlane: ControlPlane, namespace: string) {
    this.controlPlane = controlPlane;
    this.namespace = namespace;
  }

  /** Path of an administrator's kubeconfig. */
  get kubeconfig(): string {
    return this.controlPlane.kubeconfig;
  }

  /** Raw calls as the administrator. */
  get api(): RawApi {
    return this.controlPlane.api;
  }

  /**
   * The path of a resource in this namespace: `path('v1', 'configmaps', 'a')`, `path('apps/v1', 'deployments')`.
   */
  path(apiVersion: string, plural: string, name?: string): string {
    const prefix = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
    return `${prefix}/namespaces/${this.namespace}/${plural}${name === undefined ? '' : `/${name}`}`;
  }

  /** The writes the API server has audited so far that `filter` lets through, oldest first (reads aren't recorded). */
  auditedWrites(filter: (entry: AuditEntry) => boolean = () => true): AuditEntry[] {
    const lines = readFileSync(this.controlPlane.auditLog, 'utf8').split('\n');
    // The last line may still be being written; what is complete ends with a line break.
    return lines
      .slice(0, -1)
      .map((line): AuditEntry => JSON.parse(line))
      .filter(filter);
  }
}

/**
 * Gives each test of the surrounding `describe` a fresh world:
 *
 *     const world = useWorld();
 *     it('…', async () => { await world().api.create(world().path('v1', 'configmaps'), …) });
 */
export function useWorld(): () => World {
  let current: World | undefined;

  before('the shared control plane', async function () {
    // The first run on a machine builds the tools.
    this.timeout(FIRST_START_TIMEOUT_MS);
    await sharedControlPlane();
  });

  beforeEach('a fresh namespace', async () => {
    current = await createWorld(await sharedControlPlane());
  });

  afterEach('end the namespace', async () => {
    await current?.api.delete(`/api/v1/namespaces/${current.namespace}`);
    current = undefined;
  });

  return () => {
    if (current === undefined) throw new Error('there is a world only while a test runs');
    return current;
  };
}

async function createWorld(controlPlane: ControlPlane): Promise<World> {
  const world = new World(controlPlane, `test-${randomBytes(4).toString('hex')}`);
  await world.api.create('/api/v1/namespaces', {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: world.namespace },
  });
  await eventually(() => world.api.get(world.path('v1', 'serviceaccounts', 'default')), {
    what: `the default service account of ${world.namespace}`,
    pollMs: 10,
  });
  return world;
}
