// The catalogue: which tools there are, where each one's pin lies, how it is built and recognised.
// Plain Node 20, no dependency: it runs before `npm ci`.
import { fileURLToPath } from 'node:url';

/** The checkout's top folder. */
export const projectRoot = fileURLToPath(new URL('../../', import.meta.url));

/**
 * One Go module folder with its pin (go.mod and go.sum) and the binaries that are built from it.
 * @typedef {object} Recipe
 * @property {string} tool name of the recipe, and of its folder in the cache
 * @property {string} directory absolute path of the module folder that holds go.mod and go.sum
 * @property {string} module module path whose required version is the tool's version
 * @property {Record<string, string>} packages binary name -> Go package
 * @property {(version: string) => string[]} [linkerVariables] `-X` assignments; the version is given without its leading v
 * @property {Record<string, string[]>} [versionArguments] binary name -> arguments that make it print its version; a binary without is always built
 * @property {boolean} [copyModule] the module's own folder is copied and built in place of `directory`
 * @property {Record<string, string>} [overlay] files added to that copy: path -> content
 * @property {boolean} [digestSources] the sources in `directory` are ours: they are part of the pin
 * @property {number} diskMb what a cold build adds to Go's module and build caches (measured, with a margin)
 * @property {number} memoryMb what the largest compile or link step takes
 */

const pins = `${projectRoot}hack/tools/`;
const kubernetesVersionPackage = 'k8s.io/component-base/version';

/** @type {Recipe[]} */
export const recipes = [
  {
    tool: 'etcd',
    directory: `${pins}etcd`,
    module: 'go.etcd.io/etcd/server/v3',
    packages: { etcd: 'go.etcd.io/etcd/server/v3' },
    versionArguments: { etcd: ['--version'] },
    diskMb: 600,
    memoryMb: 700,
  },
  {
    tool: 'kubernetes',
    directory: `${pins}kubernetes`,
    module: 'k8s.io/kubernetes',
    packages: {
      'kube-apiserver': 'k8s.io/kubernetes/cmd/kube-apiserver',
      'kube-controller-manager': 'k8s.io/kubernetes/cmd/kube-controller-manager',
      'kube-scheduler': 'k8s.io/kubernetes/cmd/kube-scheduler',
      kubectl: 'k8s.io/kubernetes/cmd/kubectl',
    },
    // Built plainly, the API server reports v0.0.0-master, which kubectl and semver parsers refuse.
    linkerVariables: (version) => [
      `${kubernetesVersionPackage}.gitVersion=v${version}`,
      `${kubernetesVersionPackage}.gitMajor=${version.split('.')[0]}`,
      `${kubernetesVersionPackage}.gitMinor=${version.split('.')[1]}`,
    ],
    versionArguments: {
      'kube-apiserver': ['--version'],
      'kube-controller-manager': ['--version'],
      'kube-scheduler': ['--version'],
      kubectl: ['version', '--client', '--output=json'],
    },
    diskMb: 3600,
    memoryMb: 2000,
  },
  {
    tool: 'kustomize',
    directory: `${pins}kustomize`,
    module: 'sigs.k8s.io/kustomize/kustomize/v5',
    packages: { kustomize: 'sigs.k8s.io/kustomize/kustomize/v5' },
    versionArguments: { kustomize: ['version'] },
    diskMb: 300,
    memoryMb: 700,
  },
  {
    tool: 'kubeseal',
    directory: `${pins}kubeseal`,
    module: 'github.com/bitnami/sealed-secrets',
    packages: {
      kubeseal: 'github.com/bitnami/sealed-secrets/cmd/kubeseal',
      'sealed-secrets-controller': 'github.com/bitnami/sealed-secrets/cmd/controller',
    },
    linkerVariables: (version) => [`main.VERSION=${version}`],
    versionArguments: { kubeseal: ['--version'], 'sealed-secrets-controller': ['--version'] },
    diskMb: 700,
    memoryMb: 1000,
  },
  {
    tool: 'build-worker',
    directory: `${projectRoot}operator/kustomize/build-worker`,
    module: 'sigs.k8s.io/kustomize/api',
    packages: { 'kustomize-build-worker': '.' },
    digestSources: true,
    diskMb: 200,
    memoryMb: 700,
  },
  {
    tool: 'template-engine',
    directory: `${projectRoot}operator/sealing/template-engine`,
    module: 'github.com/Masterminds/sprig/v3',
    packages: { 'template-engine': '.' },
    digestSources: true,
    diskMb: 200,
    memoryMb: 500,
  },
  {
    tool: 'sops',
    directory: `${pins}sops`,
    module: 'github.com/getsops/sops/v3',
    packages: { sops: 'github.com/getsops/sops/v3/cmd/sops' },
    versionArguments: { sops: ['--version', '--disable-version-check'] },
    diskMb: 1800,
    memoryMb: 1000,
  },
  {
    tool: 'age',
    directory: `${pins}age`,
    module: 'filippo.io/age',
    packages: { age: 'filippo.io/age/cmd/age', 'age-keygen': 'filippo.io/age/cmd/age-keygen' },
    linkerVariables: (version) => [`main.Version=v${version}`],
    versionArguments: { age: ['--version'], 'age-keygen': ['--version'] },
    diskMb: 100,
    memoryMb: 300,
  },
  {
    tool: 'kwok',
    directory: `${pins}kwok`,
    module: 'sigs.k8s.io/kwok',
    packages: { kwok: 'sigs.k8s.io/kwok/cmd/kwok' },
    linkerVariables: (version) => [`sigs.k8s.io/kwok/pkg/consts.Version=${version}`],
    versionArguments: { kwok: ['--version'] },
    diskMb: 900,
    memoryMb: 1000,
  },
  {
    tool: 'helm',
    directory: `${pins}helm`,
    module: 'helm.sh/helm/v3',
    packages: { helm: 'helm.sh/helm/v3/cmd/helm' },
    linkerVariables: (version) => [`helm.sh/helm/v3/internal/version.version=v${version}`],
    versionArguments: { helm: ['version', '--short'] },
    diskMb: 700,
    memoryMb: 1000,
  },
  {
    tool: 'flux',
    directory: `${pins}flux`,
    module: 'github.com/fluxcd/flux2/v2',
    packages: { flux: './cmd/flux' },
    linkerVariables: (version) => [`main.VERSION=${version}`],
    versionArguments: { flux: ['--version'] },
    // The published module lacks the manifests that `flux install` embeds; without one file there, `go:embed` fails.
    copyModule: true,
    overlay: {
      'cmd/flux/manifests/none.yaml': '# The module is published without the install manifests.\n',
    },
    diskMb: 2100,
    memoryMb: 1200,
  },
  {
    tool: 'kustomize-controller',
    directory: `${pins}kustomize-controller`,
    module: 'github.com/fluxcd/kustomize-controller',
    packages: { 'kustomize-controller': 'github.com/fluxcd/kustomize-controller' },
    diskMb: 1500,
    memoryMb: 1500,
  },
  {
    tool: 'semver-oracle',
    directory: `${pins}semver-oracle`,
    module: 'github.com/Masterminds/semver/v3',
    packages: { 'semver-oracle': '.' },
    digestSources: true,
    diskMb: 100,
    memoryMb: 300,
  },
];

const demo = [
  'etcd',
  'kube-apiserver',
  'kube-controller-manager',
  'kubectl',
  'kustomize',
  'kubeseal',
  'kustomize-build-worker',
  'template-engine',
];

/**
 * Which binaries a command needs.
 * @type {Record<string, string[]>}
 */
export const groups = {
  start: ['kustomize-build-worker', 'template-engine'],
  demo,
  test: [...demo, 'sops', 'age', 'age-keygen', 'kube-scheduler', 'kwok', 'helm', 'flux', 'semver-oracle'],
  compat: ['sealed-secrets-controller', 'kustomize-controller'],
};

/**
 * The recipe that builds a binary. Throws when there is none.
 * @param {string} binary
 * @returns {Recipe}
 */
export function recipeOf(binary) {
  const recipe = recipes.find((candidate) => Object.hasOwn(candidate.packages, binary));
  if (recipe === undefined) {
    const known = recipes.flatMap((candidate) => Object.keys(candidate.packages)).join(', ');
    throw new Error(`no tool is called "${binary}"; there are ${known}`);
  }
  return recipe;
}
