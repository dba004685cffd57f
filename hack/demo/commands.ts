import { run } from './program.ts';

/** Paths of the programs that a person would type. */
export interface ProgramPaths {
  readonly kubectl: string;
  readonly kustomize: string;
  readonly kubeseal: string;
}

/** Where they run. */
export interface CommandsOptions {
  readonly programs: ProgramPaths;
  /** Their home and temporary folder: nothing of the user's configuration plays a part. */
  readonly directory: string;
  readonly kubeconfig: string;
  /** Address of the sealing certificate. */
  readonly certificateUrl: string;
  readonly signal: AbortSignal;
}

/** The real command line tools, as a person at a desk would use them. Every method rejects with the tool's own words. */
export class Commands {
  readonly #options: CommandsOptions;

  constructor(options: CommandsOptions) {
    this.#options = options;
  }

  /** The same, ended by another signal. */
  withSignal(signal: AbortSignal): Commands {
    return new Commands({ ...this.#options, signal });
  }

  /** kubectl as the cluster's administrator; `input` goes to its standard input. */
  kubectl(args: readonly string[], input?: string): Promise<string> {
    return this.#run('kubectl', { args, ...(input === undefined ? {} : { input }) });
  }

  /** `kubectl edit`, with sed in the place of a person at an editor. */
  kubectlEdit(args: readonly string[], sedScript: string): Promise<string> {
    // With a suffix it means the same to GNU's and BSD's sed.
    return this.#run('kubectl', {
      args: ['edit', ...args],
      environment: { KUBE_EDITOR: `sed -i.before -e ${sedScript}` },
    });
  }

  /** kustomize in a folder. */
  kustomize(directory: string, args: readonly string[]): Promise<string> {
    return this.#run('kustomize', { args, directory });
  }

  /** Seals a Secret for its name and namespace with the certificate that the operator serves; answers with YAML. */
  kubeseal(secret: object): Promise<string> {
    const args = ['--cert', this.#options.certificateUrl, '--format', 'yaml'];
    return this.#run('kubeseal', { args, input: JSON.stringify(secret) });
  }

  #run(
    name: keyof ProgramPaths,
    o: { args: readonly string[]; input?: string; directory?: string; environment?: NodeJS.ProcessEnv },
  ): Promise<string> {
    const { programs, directory, kubeconfig, signal } = this.#options;
    return run(programs[name], {
      arguments: o.args,
      directory: o.directory ?? directory,
      environment: {
        PATH: process.env.PATH,
        HOME: directory,
        TMPDIR: directory,
        KUBECONFIG: kubeconfig,
        ...o.environment,
      },
      ...(o.input === undefined ? {} : { input: o.input }),
      signal,
    });
  }
}
