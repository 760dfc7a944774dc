/**
 * An edge as a Node server: `node node.mjs`, with its settings in the environment. infra/edge/node has a service file.
 *
 * Beside the settings of every edge there are
 *
 *   PALIER_LISTEN  the address to listen on; 127.0.0.1:8788 if it is not given, port 0 picks a free one
 *   PALIER_MODULE  the module's file; ../module/edge.wasm if it is not given
 *   PALIER_SPOOL   a folder of this process's own, where telemetry waits for an origin that is away and the last good
 *                  snapshots are kept; without one, both are in memory only
 *
 * It prints one line when it is ready, logs to standard error, and on SIGTERM or SIGINT answers what it has in hand,
 * hands over what it gathered, and exits with 0.
 */

import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { fetchKeepingAlive } from './agent.mjs';
import { open } from './process.mjs';

/** What a connection may take, in milliseconds and bytes. Idle ones stay a little longer than proxies keep theirs. */
const SERVER = Object.freeze({
  headersTimeout: 10_000, requestTimeout: 30_000, keepAliveTimeout: 75_000, maxHeaderSize: 32 << 10,
});

/** How long requests in hand have to end at the end, in milliseconds. */
const GRACE = 10_000;

/** How often idle connections are closed at the end, in milliseconds. */
const SWEEP = 50;

/** Headers of the origin's answer that concern its connection to here. */
const OF_THE_CONNECTION = new Set([
  'connection', 'keep-alive', 'transfer-encoding', 'proxy-authenticate', 'trailer', 'upgrade',
]);

/** An answer that is not made into a Response only to be taken apart again. */
class Reply {
  constructor(body, { status, headers }) {
    this.body = body;
    this.status = status;
    this.headers = headers;
  }
}

/** Node's request as the edge wants it. */
class Asked {
  #message;

  constructor(message) {
    this.#message = message;
    this.method = message.method;
    this.url = `http://edge${message.url}`;
    this.body = message;
    /** @type {import('./edge.mjs').Asked['headers']} */
    this.headers = {
      get: (name) => message.headers[name] ?? null,
      * [Symbol.iterator]() {
        for (let i = 0; i < message.rawHeaders.length; i += 2) yield [message.rawHeaders[i], message.rawHeaders[i + 1]];
      },
    };
  }

  /** The body, which nearly always comes in one piece. */
  arrayBuffer() {
    const message = this.#message;
    return new Promise((resolve, reject) => {
      const pieces = [];
      message.on('data', (piece) => pieces.push(piece));
      message.on('end', () => resolve(pieces.length === 1 ? pieces[0] : Buffer.concat(pieces)));
      message.on('error', reject);
      message.on('close', () => reject(new Error('the connection was closed'))); // of no effect after the end
    });
  }
}

/** Sends what the edge answers. */
async function send(answer, to) {
  if (answer instanceof Reply) {
    to.writeHead(answer.status, answer.body === null ? answer.headers : {
      ...answer.headers, 'content-length': Buffer.byteLength(answer.body),
    });
    to.end(answer.body ?? undefined);
    return;
  }
  to.statusCode = answer.status;
  for (const [name, value] of answer.headers) if (!OF_THE_CONNECTION.has(name)) to.appendHeader(name, value);
  if (answer.body === null) to.end();
  else await pipeline(Readable.fromWeb(answer.body), to);
}

/**
 * Runs an edge until it is told to end.
 * @param {Record<string, string | undefined>} environment
 * @param {object} [more]
 * @param {import('./module.mjs').Imports} [more.imports] what the module asks of its host; TinyGo's build asks nothing
 * @returns {Promise<void>} when it has ended in good order
 * @throws {Error} when it cannot start; the message says what to do
 */
export async function run(environment, { imports } = {}) {
  const file = environment.PALIER_MODULE || fileURLToPath(new URL('../module/edge.wasm', import.meta.url));
  const module = await WebAssembly.compile(await readFile(file));
  const reply = (body, init) => new Reply(body, init);
  const edge = await open({ environment, module, imports, fetch: fetchKeepingAlive(), reply });
  const server = http.createServer(SERVER, async (message, to) => {
    try {
      await send(await edge.fetch(new Asked(message), message.socket.remoteAddress), to);
    } catch {
      to.destroy(); // whoever asked has gone, or the origin in the middle of its answer
    }
  });
  await listen(server, edge.address);
  edge.start(`http://${authority(/** @type {import('node:net').AddressInfo} */ (server.address()))}`);
  await edge.ending;
  await edge.close(() => close(server));
}

function listen(server, { host, port }) {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(new Error(`PALIER_LISTEN: cannot listen there: ${error.message}`)));
    server.listen(port, host, resolve);
  });
}

const authority = ({ address, port, family }) => (family === 'IPv6' ? `[${address}]:${port}` : `${address}:${port}`);

/** Takes no more requests and waits until those in hand have been answered. */
function close(server) {
  return new Promise((resolve) => {
    const idle = setInterval(() => server.closeIdleConnections(), SWEEP); // one is idle when its last answer has gone
    const late = setTimeout(() => server.closeAllConnections(), GRACE);
    server.close(() => {
      clearInterval(idle);
      clearTimeout(late);
      resolve();
    });
  });
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  run(process.env).then(() => process.exit(0), (error) => {
    console.error(error.message);
    process.exit(1);
  });
}
