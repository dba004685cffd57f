import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { request } from 'undici';
import { Component } from '../cluster/component.ts';
import { findFreePort } from '../cluster/ports.ts';
import { SYSTEM_NAMESPACE } from './fleet.ts';

const ENTRY = fileURLToPath(new URL('../../operator/main.ts', import.meta.url));
const READY_TIMEOUT_MS = 60_000;
const POLL_MS = 25;
const START_ATTEMPTS = 3;

/** How to start the operator. */
export interface OperatorOptions {
  readonly kubeconfig: string;
  readonly buildWorker: string;
  readonly templateEngine: string;
  /** Existing folder; its storage and log go below. */
  readonly directory: string;
  readonly signal: AbortSignal;
  /** It ended unasked after it was ready; the message holds the end of its log. */
  readonly onCrash: (message: string) => void;
}

/** The operator as a process of its own, every address on a free loopback port. */
export interface OperatorProcess {
  readonly component: Component;
  readonly logFile: string;
  readonly certificateUrl: string;
  readonly metricsUrl: string;
}

/** Starts it and resolves when it says that it is ready; rejects with the end of its log when it ends instead. */
export async function startOperator(options: OperatorOptions): Promise<OperatorProcess> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await startOnce(options);
    } catch (error) {
      // Another process was faster at a port between looking and listening.
      const portTaken = error instanceof Error && error.message.includes('EADDRINUSE');
      if (!portTaken || attempt === START_ATTEMPTS) throw error;
    }
  }
}

async function startOnce(options: OperatorOptions): Promise<OperatorProcess> {
  const [metrics = 0, health = 0, storage = 0, sealing = 0] = await distinctPorts(4);
  const storagePath = join(options.directory, 'storage');
  const logFile = join(options.directory, 'operator.log');
  mkdirSync(storagePath, { recursive: true });
  let isReady = false;
  const component = await Component.start({
    name: 'the operator',
    command: process.execPath,
    args: [
      ENTRY,
      `--kubeconfig=${options.kubeconfig}`,
      `--namespace=${SYSTEM_NAMESPACE}`,
      `--storage-path=${storagePath}`,
      `--build-worker=${options.buildWorker}`,
      `--template-engine=${options.templateEngine}`,
      `--metrics-addr=127.0.0.1:${metrics}`,
      `--health-addr=127.0.0.1:${health}`,
      `--storage-addr=127.0.0.1:${storage}`,
      `--sealed-secrets-addr=127.0.0.1:${sealing}`,
    ],
    env: { PATH: process.env.PATH, HOME: options.directory, TMPDIR: options.directory },
    logFile,
    onCrash: (message) => {
      if (isReady) options.onCrash(message);
    },
  });
  try {
    await waitUntilReady(component, `http://127.0.0.1:${health}/readyz`, options.signal);
  } catch (error) {
    await component.stop();
    throw error;
  }
  isReady = true;
  return {
    component,
    logFile,
    certificateUrl: `http://127.0.0.1:${sealing}/v1/cert.pem`,
    metricsUrl: `http://127.0.0.1:${metrics}/metrics`,
  };
}

async function distinctPorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) ports.add(await findFreePort());
  return [...ports];
}

async function waitUntilReady(operator: Component, url: string, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  for (;;) {
    signal.throwIfAborted();
    if (!operator.running) throw new Error(operator.describeExit());
    // Refused until it listens.
    const status = await request(url, { signal }).then(
      async ({ statusCode, body }) => {
        await body.dump();
        return statusCode;
      },
      () => undefined,
    );
    if (status === 200) return;
    if (performance.now() > deadline) {
      throw new Error(
        `the operator isn't ready after ${READY_TIMEOUT_MS / 1000} s: ${operator.describeExit()}`,
      );
    }
    await sleep(POLL_MS);
  }
}
