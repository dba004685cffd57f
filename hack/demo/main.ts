// The main job of Signet on this machine, step by step, with real parts: a control plane, a git server, the operator,
// and the tools that people use (git, kubectl, kustomize, kubeseal). Every line was read back from the API server.
//
//   npm run demo                 the story; then everything stays up for a look around until Ctrl-C
//   npm run demo -- --once       the story alone: exit code 0 when all of it came true, else 1 and the step that didn't
//
// For tests of the demo itself: SIGNET_DEMO_SABOTAGE=<step> freezes the operator when the step of that name begins.
import { parseArgs } from 'node:util';
import { Installation, type Parts } from './installation.ts';
import { formatMs, Narrator } from './narrator.ts';
import { StepFailedError, sabotageable, tellStory } from './story.ts';

const USAGE = 'usage: npm run demo [-- --once]';
const DIAGNOSIS_TIMEOUT_MS = 10_000;
const OUR_KINDS = 'gitrepositories,kustomizations,sealedsecrets';
const HOW_TIMED = `Time of a push: from git's acknowledgement until the API server announced the result on a watch.
The git server announces a push as a webhook would, by an annotation on the GitRepository.
Other times: from the API server's announcement of the change to its announcement of the result.
Intervals are 10 minutes: nothing here was found by polling.`;

/** What was asked for. */
interface Demand {
  readonly once: boolean;
  readonly sabotage: string | undefined;
}

class UsageError extends Error {}

function readDemand(): Demand {
  const sabotage = process.env.SIGNET_DEMO_SABOTAGE || undefined;
  if (sabotage !== undefined && !sabotageable.includes(sabotage)) {
    throw new UsageError(`SIGNET_DEMO_SABOTAGE must be one of ${sabotageable.join(', ')}`);
  }
  try {
    const { values } = parseArgs({ options: { once: { type: 'boolean', default: false } } });
    return { once: values.once, sabotage };
  } catch (error) {
    throw new UsageError(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
  }
}

async function main(demand: Demand): Promise<number> {
  const narrator = new Narrator(process.stdout);
  const interrupted = new AbortController();
  const crashed = new AbortController();
  const signal = AbortSignal.any([interrupted.signal, crashed.signal]);
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => interrupted.abort(new Error('interrupted')));
  }
  process.stdout.on('error', () => interrupted.abort(new Error('nobody reads the output any more')));
  const installation = new Installation({ narrator, signal, onCrash: (error) => crashed.abort(error) });
  let parts: Parts | undefined;
  try {
    narrator.heading('Starting, all of it on 127.0.0.1');
    parts = await installation.start();
    const startedAtMs = performance.now();
    narrator.heading('What is done, and what the API server then shows');
    await tellStory({ parts, narrator, signal, sabotage: demand.sabotage });
    narrator.text(`\n${HOW_TIMED}`);
    narrator.heading(`All of it came true in ${formatMs(performance.now() - startedAtMs)}.`);
    if (demand.once) return 0;
    narrator.heading('Look around; Ctrl-C stops everything and leaves nothing behind');
    narrator.text(howToLook(parts));
    await aborted(signal);
    if (crashed.signal.aborted) throw crashed.signal.reason;
    return 0;
  } catch (error) {
    if (interrupted.signal.aborted) return 130;
    process.stderr.write(`\nFailed: ${error instanceof Error ? error.message : String(error)}\n`);
    if (parts !== undefined && error instanceof StepFailedError && !crashed.signal.aborted) {
      process.stderr.write(`${await diagnose(parts)}\n`);
    }
    return 1;
  } finally {
    narrator.underWay('stopping');
    await installation.stop();
    narrator.heading('Stopped; nothing is left running.');
  }
}

function howToLook({ controlPlane, programs, operator, repositoryUrl }: Parts): string {
  return `
export KUBECONFIG=${controlPlane.kubeconfig}
alias kubectl=${programs.kubectl}
kubectl get ${OUR_KINDS} -A
kubectl -n production delete deployment web; kubectl -n production get deployment web
git clone ${repositoryUrl}     # and push to main: the cluster hears of it
curl ${operator.metricsUrl}
tail -f ${operator.logFile}
`.trimEnd();
}

/** What the API server shows of our kinds, and the end of the operator's log. */
async function diagnose({ commands, operator }: Parts): Promise<string> {
  const limited = commands.withSignal(AbortSignal.timeout(DIAGNOSIS_TIMEOUT_MS));
  const shown = await limited.kubectl(['get', OUR_KINDS, '-A']).catch(String);
  return `${shown}\n${operator.component.describeExit()}`;
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  // A listener alone doesn't keep the process alive.
  const keepAlive = setInterval(() => undefined, 60_000);
  return new Promise((resolve) => {
    signal.addEventListener(
      'abort',
      () => {
        clearInterval(keepAlive);
        resolve();
      },
      { once: true },
    );
  });
}

try {
  process.exitCode = await main(readDemand());
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
