/**
 * An edge: answers devices next to where they are.
 *
 * Nearly all of what devices ask is "is there anything new for me?", and a signed snapshot of the app's state is enough
 * to answer that. So the edge puts the body of the question into the WebAssembly module and sends what comes out: the
 * very bytes that the origin would answer. Telemetry goes to the origin in batches. What only the origin can answer,
 * because it depends on the device's record or changes it, is forwarded. When the origin cannot be reached, checks are
 * answered as before, and everything else says that the device should come again, or, where there is a disk, that it is
 * kept.
 *
 * This file is the same in every runtime that has fetch, Request and WebAssembly. It starts nothing and reads no
 * environment: what it needs is given to it, and the entries beside it (worker.mjs, node.mjs, deno.mjs) only do that.
 *
 * An edge is for devices. What operators ask of an origin is not carried there through an address that everybody knows.
 */

import {
  BROKEN, HEALTH, JSON_HEADERS, NOT_FOUND, failure, headersOf, limitOf, tooLarge, withRetry,
} from './answers.mjs';
import { BrokenBody, readBody } from './body.mjs';
import { MAX_CHECK, Resolver, Verdict } from './module.mjs';
import { Origin } from './origin.mjs';
import { Pushes } from './pushes.mjs';
import { Queue } from './queue.mjs';
import { Relay, within } from './relay.mjs';
import { Snapshots } from './snapshots.mjs';
import { sourceOf } from './source.mjs';

/**
 * Where an edge says what happens to it, in lines that hold no secret and no device.
 * @typedef {object} Log
 * @property {(message: string, fields?: object) => void} info
 * @property {(message: string, fields?: object) => void} warn
 * @property {(message: string, fields?: object) => void} error
 */

/**
 * What is asked: a Request, or what looks like one.
 * @typedef {object} Asked
 * @property {string} method
 * @property {string} url absolute
 * @property {Headers | (Iterable<[string, string]> & {get(name: string): string | null})} headers
 * @property {AsyncIterable<Uint8Array> | null} body
 * @property {() => Promise<ArrayBuffer | Uint8Array>} arrayBuffer
 */

/**
 * What a runtime gives its edge.
 * @typedef {object} Parts
 * @property {WebAssembly.Module} module
 * @property {import('./module.mjs').Imports} [imports] what the module asks of its host; TinyGo's build asks nothing
 * @property {import('./settings.mjs').Settings} settings
 * @property {typeof fetch} fetch
 * @property {() => number} now Unix milliseconds
 * @property {() => number} [tick] milliseconds, of a clock for deadlines that is never set back; `now` if not given
 * @property {() => number} [random] from 0 to 1, as Math.random
 * @property {Log} log
 * @property {import('./queue.mjs').Backlog} [spool] where telemetry waits for the origin; without one it is in memory
 * @property {import('./snapshots.mjs').Keep} [keep] where the last good snapshots outlive the process
 * @property {(body: Uint8Array | string | null, init: {status: number, headers: object}) => any} [reply] makes an
 *   answer; without it, answers are Responses
 */

/**
 * What a request comes with.
 * @typedef {object} Context
 * @property {(work: Promise<unknown>) => void} waitUntil keeps the runtime from ending what goes on after the answer
 * @property {string} [peer] the address at the other end of the connection, if it is known
 */

/** Methods that fetch refuses to send; devices use none of them. */
const UNUSABLE = new Set(['TRACE', 'TRACK', 'CONNECT']);

/** Requests that are worked on at once, and bytes of bodies that wait for the origin. More are asked to come again. */
const MAX_IN_FLIGHT = 4096;
const MAX_IN_HAND = 32 << 20;

/** What an origin has for its operators and for its edges. */
const NOT_FOR_DEVICES = /^\/(api|metrics|snapshots|relay|edge)(\/|$)/;

/** How long a request waits for the news when the last look for it was long ago, in milliseconds. */
const WAIT_FOR_NEWS = 2000;

/** Answers devices. */
export class Edge {
  #settings;
  #now;
  #tick;
  #log;
  #reply;
  #resolver;
  #origin;
  #snapshots;
  #pushes;
  #relay;
  #unavailable;
  #inFlight = 0; // requests
  #inHand = 0; // bytes
  #counts = {
    checks: 0, answered: 0, stale: 0, needed_facts: 0, no_snapshot: 0, fallback: 0, forwarded: 0, telemetry: 0, busy: 0,
  };

  /** @param {Parts} parts */
  constructor(parts) {
    const { settings, now, log, fetch } = parts;
    this.#settings = settings;
    this.#now = now;
    const tick = parts.tick ?? now;
    this.#tick = tick;
    this.#log = log;
    this.#reply = parts.reply ?? ((body, init) => new Response(body, init));
    this.#resolver = new Resolver(parts.module, settings.keys, parts.imports);
    this.#origin = new Origin({ settings, fetch, now: tick });
    const common = { settings, origin: this.#origin, now: tick, random: parts.random ?? Math.random, log };
    this.#snapshots = new Snapshots({ ...common, wall: now, resolver: this.#resolver, keep: parts.keep });
    this.#pushes = new Pushes({ snapshots: this.#snapshots, now: tick, log });
    this.#relay = new Relay({
      ...common, backlog: parts.spool ?? new Queue(settings.queue), renote: () => this.#resolver.renote(),
    });
    this.#resolver.restarted = () => this.#snapshots.lost();
    this.#origin.back = () => {
      this.#snapshots.resume();
      this.#relay.resume();
    };
    this.#unavailable = Object.freeze({ ...this.#resolver.unavailable() });
  }

  /**
   * Answers a request. It never fails.
   * @param {Asked} request
   * @param {Context} context
   * @returns {Promise<any>} a Response, or what `reply` makes; what was forwarded has the origin's Response
   */
  async fetch(request, context) {
    const work = this.tend();
    if (work !== null) context.waitUntil(work);
    const { path, target } = partsOf(request.url);
    if (this.#inFlight >= MAX_IN_FLIGHT) return this.#cannot(path);
    this.#inFlight++;
    try {
      if (request.method === 'POST' && path === '/updates') return await this.#updates(request, target, context);
      return await this.#others(request, path, target, context);
    } catch (error) {
      if (error instanceof BrokenBody) return this.#json(400, BROKEN);
      this.#log.error('a request failed', { problem: error.message });
      return this.#cannot(path);
    } finally {
      this.#inFlight--;
    }
  }

  /**
   * Starts what is due: looking for snapshots, sending what waits. To be called often where there are timers; every
   * request does too.
   * @returns {Promise<unknown> | null} the end of what was started, which never fails; null when nothing was due
   */
  tend() {
    const now = this.#tick();
    const snapshots = now >= this.#snapshots.due ? this.#snapshots.tend() : null;
    const relay = now >= this.#relay.due ? this.#relay.tend() : null;
    return snapshots === null && relay === null ? null : Promise.all([snapshots, relay]);
  }

  /**
   * Hands over what is at hand, for a process that is about to end. No request may come after it.
   * @returns {Promise<void>} never fails
   */
  close() {
    return this.#relay.flush();
  }

  /** POST /updates: nearly all requests. Nothing is awaited but the body, unless the snapshots are old. */
  async #updates(request, target, context) {
    this.#counts.checks++;
    const body = await readBody(request, MAX_CHECK);
    if (body === null) return this.#result(this.#resolver.tooLarge());
    const tick = this.#tick();
    if (tick >= this.#snapshots.freshUntil) await this.#news(tick);
    const now = this.#now();
    const result = this.#check(body, now);
    if (result.verdict !== Verdict.ANSWERED) return this.#ask(request, target, body, { ...result }, context);
    this.#counts.answered++;
    return this.#send(request, result, context);
  }

  /** What the module says. One that traps says nothing, and the origin is asked. */
  #check(body, now) {
    try {
      return this.#resolver.check(body, Math.floor(now / 1000));
    } catch (error) {
      this.#log.error(error.message);
      return this.#unavailable;
    }
  }

  /** Waits for a look for news that is under way. */
  async #news(now) {
    const news = this.#snapshots.awaited(now);
    if (news !== null) await within(WAIT_FOR_NEWS, news);
  }

  /** Asks the origin what the module cannot answer, and sends the module's answer if the origin cannot be reached. */
  async #ask(request, target, body, result, context) {
    this.#counts[result.verdict === Verdict.NEEDS_FACTS ? 'needed_facts' : 'no_snapshot']++;
    try {
      return await this.#origin.forward(request, target, body, context.peer);
    } catch {
      this.#counts.fallback++;
      return this.#send(request, result, context);
    }
  }

  /** Sends the module's answer, and sees to it that the origin learns who asked. */
  #send(request, result, context) {
    if (result.note !== '') this.#relay.note(result.note, sourceOf(context.peer, request.headers), context);
    if (result.stale) this.#counts.stale++;
    return this.#result(result);
  }

  #result({ status, answer, retryAfter }) {
    return this.#reply(answer, { status, headers: withRetry(JSON_HEADERS, retryAfter) });
  }

  /** Everything but update checks. */
  async #others(request, path, target, context) {
    const { method } = request;
    switch (method) {
      case 'GET':
        if (path === '/updates' || path === '/stats' || path === '/healthz') return this.#json(200, HEALTH);
        if (path === '/edge/status') return this.#status(request);
        break;
      case 'OPTIONS':
        if (path === '/telemetry') return this.#json(200, HEALTH, headersOf(path));
        break;
      case 'POST':
        if (path === '/stats' || path === '/telemetry') return this.#telemetry(request, path, target, context);
        break;
      case 'PUT':
        if (path.startsWith('/snapshots/')) return this.#push(request, path.slice('/snapshots/'.length));
        break;
    }
    if (UNUSABLE.has(method) || !this.#isForDevices(target)) return this.#json(404, NOT_FOUND);
    return this.#forward(request, path, target, context);
  }

  /** Telemetry leaves in batches; what is no text cannot be put into one. */
  #telemetry(request, path, target, context) {
    this.#counts.telemetry++;
    return this.#withBody(request, path, async (body) => {
      const text = textOf(body);
      if (text === null) return this.#pass(request, path, target, body, context);
      const answer = await this.#relay.take(path, text, sourceOf(context.peer, request.headers), context);
      if (answer === null) return this.#cannot(path);
      return this.#json(answer.status, answer.body, withRetry(headersOf(path), answer.retryAfter));
    });
  }

  /** Reads a body that the origin is to have, and lets it be used while there is room for so many of them. */
  async #withBody(request, path, use) {
    const limit = limitOf(path);
    const announced = Number(request.headers.get('content-length') ?? limit);
    const size = announced <= limit ? announced : limit;
    if (this.#inHand + size > MAX_IN_HAND) return this.#cannot(path);
    this.#inHand += size;
    try {
      const body = await readBody(request, limit);
      return body === null ? this.#json(400, tooLarge(limit), headersOf(path)) : await use(body);
    } finally {
      this.#inHand -= size;
    }
  }

  /** Whether devices may ask the origin this: as it will understand the path, not as it is written. */
  #isForDevices(target) {
    const { pathname: asked } = new URL(this.#settings.origin + target);
    const { pathname: base } = new URL(`${this.#settings.origin}/`);
    const path = asked.startsWith(base) ? decoded(asked.slice(base.length)) : null;
    return path !== null && !NOT_FOR_DEVICES.test(`/${path}`);
  }

  /** Forwards what is the origin's to answer. */
  #forward(request, path, target, context) {
    if (request.method === 'GET' || request.method === 'HEAD') return this.#pass(request, path, target, null, context);
    return this.#withBody(request, path, (body) => this.#pass(request, path, target, body, context));
  }

  async #pass(request, path, target, body, context) {
    this.#counts.forwarded++;
    try {
      return await this.#origin.forward(request, target, body, context.peer);
    } catch {
      return this.#cannot(path);
    }
  }

  /** The answer when neither the edge nor the origin can answer. */
  #cannot(path) {
    this.#counts.busy++;
    const { status, answer, retryAfter } = this.#unavailable;
    return this.#reply(answer, { status, headers: withRetry(headersOf(path), retryAfter) });
  }

  async #push(request, app) {
    const { status, body, headers } = await this.#pushes.take(request, decoded(app));
    return this.#reply(body, { status, headers });
  }

  /** GET /edge/status: for the operator, who has the edge token. */
  async #status(request) {
    if (!await bears(request, this.#settings.token)) {
      return this.#json(401, failure('invalid_token', 'send the header Authorization: Bearer and the edge token'), {
        ...JSON_HEADERS, 'www-authenticate': 'Bearer realm="palier-edge"',
      });
    }
    const counts = { ...this.#counts, ...this.#pushes.counts, ...this.#relay.counts };
    const status = { apps: this.#snapshots.status(), queue: this.#relay.status(), counts };
    return this.#json(200, JSON.stringify(status), { ...JSON_HEADERS, 'cache-control': 'no-store' });
  }

  #json(status, body, headers = JSON_HEADERS) {
    return this.#reply(body, { status, headers });
  }
}

/**
 * Splits a URL into its path, and its path with the query, without the cost of parsing what is not looked at.
 * @param {string} url absolute
 */
function partsOf(url) {
  const start = url.indexOf('/', url.indexOf('//') + 2);
  const target = start < 0 ? '/' : url.slice(start);
  const query = target.indexOf('?');
  return { path: query < 0 ? target : target.slice(0, query), target };
}

/** What a part of a path means; null if it means nothing. */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return null;
  }
}

/** A body as text, exactly; null if it is none. */
function textOf(body) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    return null;
  }
}

/** Whether a request bears the token. Digests are compared, so that the time it takes tells nothing of the token. */
async function bears(request, token) {
  const encoder = new TextEncoder();
  const digest = async (text) => new Uint8Array(await crypto.subtle.digest('SHA-256', encoder.encode(text)));
  const given = await digest(request.headers.get('authorization') ?? '');
  const wanted = await digest(`Bearer ${token}`);
  return given.reduce((difference, octet, index) => difference | (octet ^ wanted[index]), 0) === 0;
}
