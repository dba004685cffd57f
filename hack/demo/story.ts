import { deletion, edit, scale } from './drift-steps.ts';
import { firstSync, imageBump, prune, revert } from './git-steps.ts';
import type { Parts } from './installation.ts';
import type { Narrator } from './narrator.ts';
import { Recording } from './recording.ts';
import { RECORDED_COLLECTIONS, type Scene, type Step } from './scene.ts';
import { resealing, unsealed } from './secret-steps.ts';

const STEP_TIMEOUT_MS = 60_000;
const SABOTAGED_TIMEOUT_MS = 5_000;

/** A step that didn't come true; the message names it. */
export class StepFailedError extends Error {
  constructor(step: Step, cause: unknown) {
    super(`step ${step.name} (${step.title}): ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
    this.name = 'StepFailedError';
  }
}

/** The story, in order. */
export const story: readonly Step[] = [
  firstSync,
  unsealed,
  imageBump,
  edit,
  scale,
  deletion,
  prune,
  revert,
  ...resealing(),
];

/** Steps that the operator's absence makes fail. What `unseal` looks at has happened before. */
export const sabotageable = story.map(({ name }) => name).filter((name) => name !== 'unseal');

/** How to tell it. */
export interface TellOptions {
  readonly parts: Parts;
  readonly narrator: Narrator;
  readonly signal: AbortSignal;
  /** For tests of the demo: the operator is frozen (SIGSTOP) when the step of this name begins, and stays so. */
  readonly sabotage: string | undefined;
}

/** Plays every step and prints it once it came true. Rejects with {@link StepFailedError} at the first that doesn't. */
export async function tellStory({ parts, narrator, signal, sabotage }: TellOptions): Promise<void> {
  const recording = await Recording.start(parts.controlPlane.api, RECORDED_COLLECTIONS);
  try {
    for (const step of story) {
      const isSabotaged = step.name === sabotage;
      if (isSabotaged) parts.operator.component.signal('SIGSTOP');
      narrator.underWay(step.title);
      await play(
        step,
        { ...parts, recording, signal },
        isSabotaged ? SABOTAGED_TIMEOUT_MS : STEP_TIMEOUT_MS,
      ).then(({ seen, tookMs }) => narrator.step(step.title, seen, tookMs));
    }
  } finally {
    await recording.stop();
  }
}

async function play(step: Step, scene: Scene, timeoutMs: number) {
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(new Error(`not within ${timeoutMs / 1000} s`)), timeoutMs);
  const signal = AbortSignal.any([scene.signal, limit.signal]);
  try {
    return await step.play({ ...scene, signal, commands: scene.commands.withSignal(signal) });
  } catch (error) {
    throw new StepFailedError(step, error);
  } finally {
    clearTimeout(timer);
  }
}
