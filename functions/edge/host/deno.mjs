/**
 * An edge as a Deno server, with its settings in the environment: those of node.mjs, which says them. infra/edge/deno
 * has the command with the permissions it needs.
 */

import { open } from './process.mjs';

/**
 * Runs an edge until it is told to end.
 * @param {object} [more]
 * @param {import('./module.mjs').Imports} [more.imports] what the module asks of its host; TinyGo's build asks nothing
 * @returns {Promise<void>} when it has ended in good order
 * @throws {Error} when it cannot start; the message says what to do
 */
export async function run({ imports } = {}) {
  const environment = Deno.env.toObject();
  const file = environment.PALIER_MODULE || new URL('../module/edge.wasm', import.meta.url);
  const module = await WebAssembly.compile(await Deno.readFile(file));
  const edge = await open({ environment, module, imports, fetch: (url, init) => fetch(url, init) });
  const listen = { hostname: edge.address.host, port: edge.address.port, onListen: () => {} };
  const server = Deno.serve(listen, (request, info) => edge.fetch(request, hostOf(info.remoteAddr)));
  const { hostname, port } = server.addr;
  edge.start(`http://${hostname.includes(':') ? `[${hostname}]` : hostname}:${port}`);
  await edge.ending;
  await edge.close(() => server.shutdown());
}

/** The address of a connection's other end, where that has one. */
const hostOf = (address) => ('hostname' in address ? address.hostname : undefined);

if (import.meta.main) {
  run().then(() => Deno.exit(0), (error) => {
    console.error(error.message);
    Deno.exit(1);
  });
}
