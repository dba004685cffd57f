import type { AddressInfo } from 'node:net';
import { connect, createServer, type Socket } from 'node:net';

/** A relay on loopback between a client and a server, whose line can be cut or go dead. */
export interface TcpRelay {
  url: URL;
  /** Connections accepted so far. */
  readonly accepted: number;
  /** Breaks all connections and refuses new ones until `mend`. */
  cut(): void;
  /** What is open stays open and carries nothing any more, in either direction: half-open. New ones work. */
  deaden(): void;
  mend(): void;
  close(): Promise<void>;
}

/** Starts a relay to the server at `target` (its host and port; TLS passes through untouched). */
export async function startTcpRelay(target: URL): Promise<TcpRelay> {
  const pairs = new Set<[Socket, Socket]>();
  let accepted = 0;
  let refusing = false;
  const server = createServer((inner) => {
    if (refusing) {
      inner.destroy();
      return;
    }
    accepted += 1;
    const outer = connect(Number(target.port), target.hostname);
    const pair: [Socket, Socket] = [inner, outer];
    pairs.add(pair);
    inner.pipe(outer);
    outer.pipe(inner);
    for (const [socket, other] of [pair, [outer, inner] as const]) {
      socket.on('error', () => {});
      socket.on('close', () => {
        pairs.delete(pair);
        other.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = new URL(target);
  url.port = String((server.address() as AddressInfo).port);
  const breakAll = () => {
    for (const [inner, outer] of pairs) {
      inner.destroy();
      outer.destroy();
    }
  };
  return {
    url,
    get accepted() {
      return accepted;
    },
    cut: () => {
      refusing = true;
      breakAll();
    },
    deaden: () => {
      for (const [inner, outer] of pairs) {
        inner.unpipe(outer);
        outer.unpipe(inner);
      }
    },
    mend: () => {
      refusing = false;
    },
    close: () => {
      breakAll();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}
