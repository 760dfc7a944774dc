/**
 * What Node and Deno have in common: an edge in a process of its own, which has timers, a disk, signals and standard
 * error. The entries beside this file add their HTTP server.
 */

import { readSettings, SettingsError } from './settings.mjs';
import { Edge } from './edge.mjs';
import { Spool, inFolder } from './spool.mjs';
import { within } from './relay.mjs';
import { join } from 'node:path';
import process from 'node:process';

/** How often it is looked whether something is due, in milliseconds. */
const TICK = 100;

/** How long the first snapshots may take before the edge is ready without them, in milliseconds. */
const FIRST_SNAPSHOTS = 2000;

/** How long work after the last answer may take at the end, in milliseconds. */
const LAST_WORK = 10_000;

const DEFAULT_LISTEN = '127.0.0.1:8788';

/** One line for each thing that happens, as journals like it. */
const log = Object.freeze({
  info: (message, fields) => line('info', message, fields),
  warn: (message, fields) => line('warn', message, fields),
  error: (message, fields) => line('error', message, fields),
});

function line(level, message, fields = {}) {
  const rest = Object.entries(fields).map(([name, value]) => ` ${name}=${JSON.stringify(value)}`).join('');
  process.stderr.write(`${new Date().toISOString()} ${level} ${message}${rest}\n`);
}

/**
 * An edge in a process.
 * @typedef {object} Running
 * @property {{host: string, port: number}} address to listen on
 * @property {(request: import('./edge.mjs').Asked, peer?: string) => Promise<any>} fetch answers a request from an
 *   address
 * @property {(url: string) => Promise<void>} start begins its work and says, when it is ready, where it can be reached
 * @property {Promise<void>} ending it was told to end
 * @property {(stop: () => Promise<unknown>) => Promise<void>} close ends its work, and by stop its server, which
 *   answers what is in hand
 */

/**
 * Opens an edge with the settings of a process.
 * @param {object} parts
 * @param {Record<string, string | undefined>} parts.environment
 * @param {WebAssembly.Module} parts.module
 * @param {import('./module.mjs').Imports} [parts.imports]
 * @param {typeof fetch} parts.fetch
 * @param {(body: Uint8Array | string | null, init: {status: number, headers: object}) => any} [parts.reply]
 * @returns {Promise<Running>}
 * @throws {Error} when settings or the folder for telemetry cannot be used; the message says what to do
 */
export async function open({ environment, module, imports, fetch, reply }) {
  const settings = readSettings(environment);
  const address = addressOf(environment.PALIER_LISTEN || DEFAULT_LISTEN);
  const { spool, keep } = await folders(environment.PALIER_SPOOL, settings);
  const tick = () => performance.timeOrigin + performance.now(); // a clock that is set back stops no deadline
  const edge = new Edge({ module, imports, settings, fetch, now: Date.now, tick, log, spool, keep, reply });
  const work = new Set();
  const waitUntil = (promise) => {
    work.add(promise);
    const ended = () => work.delete(promise);
    promise.then(ended, ended);
  };
  const tend = () => {
    const begun = edge.tend();
    if (begun !== null) waitUntil(begun);
    return begun;
  };
  let ticking;
  return {
    address,
    fetch: (request, peer) => edge.fetch(request, { waitUntil, peer }),
    ending: new Promise((resolve) => {
      for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => resolve());
    }),
    async start(url) {
      if (settings.origin.startsWith('http:')) log.warn('the edge token goes to the origin unencrypted');
      ticking = setInterval(tend, TICK);
      await within(FIRST_SNAPSHOTS, tend());
      const apps = settings.apps.join(', ');
      process.stdout.write(`palier edge is ready at ${url} (origin ${settings.origin}, apps ${apps})\n`);
    },
    async close(stop) {
      const stopped = stop();
      await edge.close(); // for requests that wait for their batch
      await stopped;
      clearInterval(ticking);
      await edge.close();
      await within(LAST_WORK, Promise.all(work));
    },
  };
}

/** Where telemetry and snapshots are kept, in the folder if there is one. */
async function folders(folder, settings) {
  if (!folder) return {};
  try {
    const spool = await Spool.open(join(folder, 'telemetry'), settings.queue);
    return { spool, keep: await inFolder(join(folder, 'snapshots'), log) };
  } catch (error) {
    throw new SettingsError([`PALIER_SPOOL: give a folder that this process may write to: ${error.message}`]);
  }
}

/** Reads host:port, with an IPv6 host in brackets. */
function addressOf(text) {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/.exec(text) ?? [];
  if (port === undefined || Number(port) > 65_535) {
    throw new SettingsError([`PALIER_LISTEN: give a host and a port, such as ${DEFAULT_LISTEN}`]);
  }
  return { host: bracketed ?? (plain || '0.0.0.0'), port: Number(port) };
}
