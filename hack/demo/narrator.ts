import { styleText } from 'node:util';

const WIDTH = 98;

/** Where the story is printed. */
export interface Output {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

/**
 * Prints the story for a person: at most 100 columns, the time of each thing at the right edge. On a terminal with a
 * little colour and a line that says what is under way; otherwise plain text, line by line.
 */
export class Narrator {
  readonly #output: Output;
  #steps = 0;

  constructor(output: Output) {
    this.#output = output;
  }

  /** A heading, after an empty line. */
  heading(text: string): void {
    this.#line('');
    this.#line(this.#style('bold', text));
  }

  /** A paragraph, as it is. */
  text(text: string): void {
    for (const line of text.split('\n')) this.#line(line === '' ? '' : `  ${line}`);
  }

  /** Something that stands now: what, what is to know of it, how long it took. */
  part(name: string, about: string, tookMs: number): void {
    const left = `  ${name.padEnd(14)} ${about}`;
    this.#line(`${left}${this.#rightEdge(left, tookMs)}`);
  }

  /** A step that came true: what was done, how long it took, what the API server shows. */
  step(title: string, seen: string, tookMs: number): void {
    this.#steps += 1;
    const left = `${String(this.#steps).padStart(3)}  ${title}`;
    this.#line(`${this.#style('bold', left)}${this.#rightEdge(left, tookMs)}`);
    this.#line(this.#style('dim', `     ${seen}`));
  }

  /** What is under way: shown on a terminal until the next line. */
  underWay(text: string): void {
    if (this.#output.isTTY === true) this.#output.write(`\r\x1b[2K${this.#style('dim', `  … ${text}`)}`);
  }

  #line(text: string): void {
    this.#output.write(`${this.#output.isTTY === true ? '\r\x1b[2K' : ''}${text}\n`);
  }

  #rightEdge(left: string, tookMs: number): string {
    const time = formatMs(tookMs);
    return `${' '.repeat(Math.max(2, WIDTH - left.length - time.length))}${this.#style('green', time)}`;
  }

  #style(style: 'bold' | 'dim' | 'green', text: string): string {
    return this.#output.isTTY === true ? styleText(style, text) : text;
  }
}

/** A duration for a person: "8 ms", "412 ms", "1.24 s". */
export function formatMs(durationMs: number): string {
  return durationMs < 999.5 ? `${Math.round(durationMs)} ms` : `${(durationMs / 1000).toFixed(2)} s`;
}
