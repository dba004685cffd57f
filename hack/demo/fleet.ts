/** What the demo's repository holds, in the layout that teams use: two apps, a base and two overlays each. */

/** The namespace of each overlay. */
export const ENVIRONMENTS = ['production', 'staging'] as const;
/** The folders below `apps/`. */
export const APPS = ['web', 'worker'] as const;
/** The namespace of the GitRepository, the Kustomizations and the sealing key. */
export const SYSTEM_NAMESPACE = 'flux-system';
/** The GitRepository's name, and the repository's. */
export const SOURCE_NAME = 'fleet';
/** The Secret that the worker in production reads its password from, and its SealedSecret. */
export const CREDENTIALS = 'worker-credentials';
/** Where its SealedSecret lies. */
export const SEALED_CREDENTIALS_FILE = 'apps/worker/overlays/production/credentials.yaml';
/** The image of the web app, without its tag. */
export const WEB_IMAGE = 'registry.example.com/shop/web';
/** The tags of the web app: before and after the release. */
export const WEB_TAGS = { first: '1.4.0', next: '1.5.0' } as const;

const WORKER_IMAGE = 'registry.example.com/shop/worker';

/** The repository's first commit: path -> content. `sealedCredentials` is a SealedSecret as kubeseal printed it. */
export function fleetFiles(sealedCredentials: string): Record<string, string> {
  return {
    'apps/web/base/kustomization.yaml': kustomization(
      'resources: [deployment.yaml, service.yaml, serviceaccount.yaml]',
      'configMapGenerator:',
      '  - name: web-settings',
      '    literals: [GREETING=hello]',
    ),
    'apps/web/base/deployment.yaml': deployment({
      name: 'web',
      image: WEB_IMAGE,
      environment: 'configMapRef: { name: web-settings }',
    }),
    'apps/web/base/service.yaml': WEB_SERVICE,
    'apps/web/base/serviceaccount.yaml': serviceAccount('web'),
    'apps/web/overlays/production/kustomization.yaml': webOverlay(3),
    'apps/web/overlays/staging/kustomization.yaml': webOverlay(1),
    'apps/worker/base/kustomization.yaml': kustomization(
      'resources: [deployment.yaml, serviceaccount.yaml, poddisruptionbudget.yaml]',
    ),
    'apps/worker/base/deployment.yaml': deployment({
      name: 'worker',
      image: `${WORKER_IMAGE}:2.0.1`,
      environment: `secretRef: { name: ${CREDENTIALS}, optional: true }`,
    }),
    'apps/worker/base/serviceaccount.yaml': serviceAccount('worker'),
    'apps/worker/base/poddisruptionbudget.yaml': WORKER_DISRUPTION_BUDGET,
    'apps/worker/overlays/production/kustomization.yaml': kustomization(
      'resources: [../../base, credentials.yaml]',
    ),
    [SEALED_CREDENTIALS_FILE]: sealedCredentials,
    'apps/worker/overlays/staging/kustomization.yaml': kustomization('resources: [../../base]'),
  };
}

/** What a person applies once: where Git is, and which overlay goes where. Intervals are long: nothing here polls. */
export function syncObjects(url: string): object[] {
  const metadata = (name: string) => ({ name, namespace: SYSTEM_NAMESPACE });
  return [
    ...ENVIRONMENTS.map((name) => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })),
    {
      apiVersion: 'source.toolkit.fluxcd.io/v1',
      kind: 'GitRepository',
      metadata: metadata(SOURCE_NAME),
      spec: { url, ref: { branch: 'main' }, interval: '10m' },
    },
    ...kustomizations().map(({ name, path, targetNamespace }) => ({
      apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
      kind: 'Kustomization',
      metadata: metadata(name),
      spec: {
        sourceRef: { kind: 'GitRepository', name: SOURCE_NAME },
        path: `./${path}`,
        targetNamespace,
        prune: true,
        interval: '10m',
      },
    })),
  ];
}

/** One Kustomization for each app and overlay. `path` is relative to the repository. */
export function kustomizations(): { name: string; path: string; targetNamespace: string }[] {
  return APPS.flatMap((app) =>
    ENVIRONMENTS.map((environment) => ({
      name: `${app}-${environment}`,
      path: overlayPath(app, environment),
      targetNamespace: environment,
    })),
  );
}

/** The folder of an app's overlay, relative to the repository. */
export function overlayPath(app: (typeof APPS)[number], environment: (typeof ENVIRONMENTS)[number]): string {
  return `apps/${app}/overlays/${environment}`;
}

function kustomization(...lines: string[]): string {
  const head = ['apiVersion: kustomize.config.k8s.io/v1beta1', 'kind: Kustomization'];
  return `${[...head, ...lines].join('\n')}\n`;
}

function webOverlay(replicas: number): string {
  return kustomization(
    'resources: [../../base]',
    'images:',
    `  - name: ${WEB_IMAGE}`,
    `    newTag: ${WEB_TAGS.first}`,
    'replicas:',
    '  - name: web',
    `    count: ${replicas}`,
  );
}

function deployment(o: { name: string; image: string; environment: string }): string {
  return `apiVersion: apps/v1
kind: Deployment
metadata:
  name: ${o.name}
spec:
  replicas: 2
  selector:
    matchLabels: { app: ${o.name} }
  template:
    metadata:
      labels: { app: ${o.name} }
    spec:
      serviceAccountName: ${o.name}
      containers:
        - name: ${o.name}
          image: ${o.image}
          envFrom:
            - ${o.environment}
          resources:
            requests: { cpu: 50m, memory: 64Mi }
`;
}

function serviceAccount(name: string): string {
  return `apiVersion: v1
kind: ServiceAccount
metadata:
  name: ${name}
`;
}

const WEB_SERVICE = `apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  selector: { app: web }
  ports:
    - { name: http, port: 80, targetPort: 8080 }
`;

const WORKER_DISRUPTION_BUDGET = `apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: worker
spec:
  minAvailable: 1
  selector:
    matchLabels: { app: worker }
`;
