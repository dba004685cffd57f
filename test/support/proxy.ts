/** Proxies that lead every connection, wherever it wants to go, to one port of 127.0.0.1. */

import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import {
  type AddressInfo,
  connect,
  createServer as createTcpServer,
  type Server,
  type Socket,
} from 'node:net';
import type { Duplex } from 'node:stream';
import type { CertifiedKey } from '../../hack/cluster/certificates.ts';

/** Whom a proxy lets through, and where to. */
export interface ProxyOptions {
  targetPort: number;
  login?: { username: string; password: string };
  /** Makes it an https:// proxy. */
  tls?: CertifiedKey;
}

/** A running proxy. */
export interface RunningProxy {
  address: string;
  /** `host:port` of everything that was let through, in order. */
  passed: string[];
  /** How often somebody was turned away. */
  refused: () => number;
  stop: () => Promise<void>;
}

/** An HTTP proxy: absolute URLs and CONNECT (RFC 9110, 7.6 and 9.3.6). */
export async function startHttpProxy(o: ProxyOptions): Promise<RunningProxy> {
  const passed: string[] = [];
  let refusals = 0;
  const isLetIn = ({ headers }: IncomingMessage): boolean => {
    if (o.login === undefined) return true;
    const { username, password } = o.login;
    const expected = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
    if (headers['proxy-authorization'] === expected) return true;
    refusals += 1;
    return false;
  };
  const forward = (incoming: IncomingMessage, response: ServerResponse): void => {
    if (!isLetIn(incoming)) {
      response.writeHead(407, { 'proxy-authenticate': 'Basic realm="proxy"' }).end();
      return;
    }
    const { method = '', headers } = incoming;
    const url = new URL(incoming.url ?? '');
    passed.push(url.host);
    const path = url.pathname + url.search;
    const onward = request({ host: '127.0.0.1', port: o.targetPort, method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on('error', () => response.destroy());
    incoming.pipe(onward);
  };
  const server = o.tls === undefined ? createServer(forward) : createTlsServer(tlsOf(o.tls), forward);
  const sockets = socketsOf(server);
  server.on('connect', (incoming: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (!isLetIn(incoming)) {
      const challenge = 'Proxy-Authenticate: Basic realm="proxy"\r\nContent-Length: 0\r\nConnection: close';
      socket.end(`HTTP/1.1 407 Proxy Authentication Required\r\n${challenge}\r\n\r\n`);
      return;
    }
    passed.push(incoming.url ?? '');
    socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
    join(socket, o.targetPort, head);
  });
  const port = await listen(server);
  const scheme = o.tls === undefined ? 'http' : 'https';
  return {
    ...{ address: `${scheme}://127.0.0.1:${port}`, passed, refused: () => refusals },
    stop: () => end(server, sockets),
  };
}

/** A SOCKS5 proxy that takes host names (RFC 1928, RFC 1929). */
export async function startSocksProxy(o: Omit<ProxyOptions, 'tls'>): Promise<RunningProxy> {
  const passed: string[] = [];
  let refusals = 0;
  const server = createTcpServer((socket) => {
    socket.on('error', () => socket.destroy());
    const talk = async (): Promise<void> => {
      const bytes = byteReader(socket);
      if (!(await greet(socket, bytes, o.login))) {
        refusals += 1;
        return;
      }
      const [, , , kind] = await bytes(4);
      const [length = 4] = kind === 3 ? await bytes(1) : [4];
      const host = await bytes(length);
      const port = (await bytes(2)).readUInt16BE();
      passed.push(`${kind === 3 ? host.toString() : [...host].join('.')}:${port}`);
      socket.write(Buffer.from([5, 0, 0, 1, 127, 0, 0, 1, 0, 0]));
      join(socket, o.targetPort, Buffer.alloc(0));
    };
    talk().catch(() => socket.destroy());
  });
  const sockets = socketsOf(server);
  const port = await listen(server);
  return {
    ...{ address: `socks5://127.0.0.1:${port}`, passed, refused: () => refusals },
    stop: () => end(server, sockets),
  };
}

function tlsOf({ certificatePem: cert, keyPem: key }: CertifiedKey): { cert: string; key: string } {
  return { cert, key };
}

/** The methods of RFC 1928, section 3, and the login of RFC 1929; ends the connection of whom it turns away. */
async function greet(
  socket: Socket,
  bytes: ReturnType<typeof byteReader>,
  login: ProxyOptions['login'],
): Promise<boolean> {
  const [, methods = 0] = await bytes(2);
  const offered = await bytes(methods);
  const method = login === undefined ? 0 : 2;
  if (!offered.includes(method)) {
    socket.end(Buffer.from([5, 0xff]));
    return false;
  }
  socket.write(Buffer.from([5, method]));
  if (login === undefined) return true;
  const [, userLength = 0] = await bytes(2);
  const username = (await bytes(userLength)).toString();
  const [passwordLength = 0] = await bytes(1);
  const isRight = (await bytes(passwordLength)).toString() === login.password && username === login.username;
  if (isRight) socket.write(Buffer.from([1, 0]));
  else socket.end(Buffer.from([1, 1]));
  return isRight;
}

/** Answers exactly as many bytes as asked for, and leaves the rest in the socket. */
function byteReader(socket: Socket): (count: number) => Promise<Buffer> {
  return async (count) => {
    if (count === 0) return Buffer.alloc(0);
    for (;;) {
      const bytes: unknown = socket.read(count);
      if (Buffer.isBuffer(bytes)) return bytes;
      await new Promise<void>((resolve, reject) => {
        socket.once('readable', resolve);
        socket.once('close', () => reject(new Error('the client left')));
      });
    }
  };
}

function join(socket: Duplex, port: number, head: Buffer): void {
  const onward = connect(port, '127.0.0.1');
  onward.write(head);
  socket.pipe(onward).pipe(socket);
  for (const [one, other] of [
    [socket, onward],
    [onward, socket],
  ] as const)
    one.on('error', () => one.destroy()).on('close', () => other.destroy());
}

function socketsOf(server: Server): Set<Socket> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  return sockets;
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

async function end(server: Server, sockets: Set<Socket>): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  for (const socket of sockets) socket.destroy();
  await closed;
}
