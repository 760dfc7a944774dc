/**
 * An edge as a Cloudflare Worker, or wherever else workerd runs. infra/edge/cloudflare has its wrangler.toml.
 *
 * A Worker lives in isolates: many of them, anywhere, that come and go. Each has a module and snapshots of its own.
 * Nothing runs between requests, so what is to be done now and then is done with a request, after its answer. The first
 * request of an isolate finds no snapshot and waits for it; the data centre's cache has the last good one if the origin
 * is down.
 *
 * A push reaches one isolate of one data centre. Here it is polling that brings a rollback to all of them: within
 * PALIER_POLL seconds of the next request.
 */

import module from '../module/edge.wasm';
import { Edge } from './edge.mjs';
import { readSettings } from './settings.mjs';

/** The name of the cache. One with a name of its own cannot be read by asking for a URL, which the zone's cache can. */
const CACHE = 'palier-snapshots';

/** The header in which Cloudflare names who asks. Nobody else can write it there. */
const CONNECTING_IP = 'cf-connecting-ip';

/** Log lines are JSON, as Workers Logs likes them. */
const log = Object.freeze({
  info: (message, fields) => console.log(JSON.stringify({ level: 'info', message, ...fields })),
  warn: (message, fields) => console.warn(JSON.stringify({ level: 'warn', message, ...fields })),
  error: (message, fields) => console.error(JSON.stringify({ level: 'error', message, ...fields })),
});

/**
 * Keeps snapshots in the data centre's cache, for as long as they answer. Where there is no such cache, nothing is
 * kept.
 * @param {string} host the Worker's own, which the cache wants its entries to be of
 * @returns {import('./snapshots.mjs').Keep}
 */
function inCache(host) {
  const url = (app) => `https://${host}/snapshots/${encodeURIComponent(app)}`;
  let told = false;
  const attempt = async (work, otherwise) => {
    try {
      return await work(await caches.open(CACHE));
    } catch (error) {
      if (!told) log.warn('the cache cannot be used: nothing is kept there', { problem: error.message });
      told = true;
      return otherwise;
    }
  };
  return {
    get: (app) => attempt(async (cache) => {
      const found = await cache.match(url(app));
      return found === undefined ? null : new Uint8Array(await found.arrayBuffer());
    }, null),
    put: (app, sealed, seconds) => attempt((cache) => cache.put(url(app), new Response(sealed, {
      headers: { 'content-type': 'application/vnd.palier.snapshot', 'cache-control': `max-age=${seconds}` },
    })), undefined),
    forget: (app) => attempt((cache) => cache.delete(url(app)), undefined),
  };
}

/**
 * Makes a Worker of a module.
 * @param {WebAssembly.Module} module
 * @param {import('./module.mjs').Imports} [imports] what the module asks of its host; TinyGo's build asks nothing
 * @returns {{fetch: (request: Request, bindings: Record<string, unknown>, context: import('./edge.mjs').Context) =>
 *   Promise<Response>}}
 */
export function worker(module, imports) {
  /** @type {Edge | null} */
  let edge = null; // one for the isolate, from its first request on: before that there are no bindings
  const open = (request, bindings) => new Edge({
    module, imports, settings: readSettings(bindings), keep: inCache(new URL(request.url).host), log,
    fetch: (url, init) => fetch(url, init), now: () => Date.now(),
  });
  return {
    async fetch(request, bindings, context) {
      try {
        edge ??= open(request, bindings);
      } catch (error) {
        log.error(error.message);
        const problem = { error: 'edge_unusable', message: 'this edge is not set up: its log says what to do' };
        return Response.json(problem, { status: 500 });
      }
      const waitUntil = (work) => context.waitUntil(work);
      return edge.fetch(request, { waitUntil, peer: request.headers.get(CONNECTING_IP) ?? undefined });
    },
  };
}

export default worker(module);
