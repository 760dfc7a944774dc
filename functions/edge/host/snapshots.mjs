/**
 * Keeps the module's snapshots current.
 *
 * Each app's snapshot is asked for every few seconds with the ETag of the one that is held, which costs the origin next
 * to nothing and answers nothing when there is no news. A newer one may also be pushed; whoever pushes proves himself
 * by the signature. The module decides what it takes. Whatever it refuses, and however long the origin is away, the
 * last good one goes on answering.
 *
 * There are runtimes without timers: a Worker does nothing between requests. So nothing here waits for a time to come.
 * `tend` starts whatever is due, and is called often: by a timer where there is one, and with every request. After a
 * long sleep the held snapshot may be hours old, and a rollback may have happened meanwhile, so the first requests
 * after it wait for the news, for two seconds at most: see `awaited`.
 *
 * The last good snapshot may be kept where the next start finds it, so that one while the origin is down has something
 * to answer from. It is verified like any other.
 */

import { Refused } from './origin.mjs';
import { Outcome, headerOf, outcomeName } from './module.mjs';

/** The longest pause between two attempts, in milliseconds. */
const MAX_BACKOFF = 30_000;

/** A fetch that has not ended after so many milliseconds never will: its Worker's request was cancelled. */
const LOST = 30_000;

/** How much the polls of many edges spread, as a part of the interval. */
const JITTER = 0.1;

/**
 * Where the last good snapshots are kept. Failures are the keeper's to log: keeping is of help, and not needed.
 * @typedef {object} Keep
 * @property {(app: string) => Promise<Uint8Array | null>} get
 * @property {(app: string, sealed: Uint8Array, seconds: number) => Promise<void>} put to be kept for so long
 * @property {(app: string) => Promise<void>} forget
 */

const NO_HEADER = Object.freeze({ revision: 0, issued: 0, expires: 0 });

/**
 * What is held of an app.
 * @typedef {object} Status
 * @property {string} app
 * @property {number} revision 0 while there is no snapshot, as are the times
 * @property {number} issued Unix seconds
 * @property {number} expires Unix seconds
 * @property {string} state `current`, `stale` (expired, answering by grace), `ended` (expired beyond it) or `missing`
 * @property {string} [trouble] why there is no news
 */

/** What a snapshot with this header does at a time, in Unix seconds. */
function stateAt(now, header, grace) {
  if (header === null) return 'missing';
  if (now < header.expires) return 'current';
  return now < header.expires + grace ? 'stale' : 'ended';
}

/** One app's snapshot and the attempts to have a newer one. */
class Held {
  /** @type {import('./module.mjs').Header | null} */
  header = null;
  due = 0; // milliseconds
  settled = -Infinity; // milliseconds; when the last attempt ended
  problem = ''; // of the last attempt
  failures = 0; // in a row
  started = false;
  /** @type {Promise<void> | null} */
  flight = null;
  departed = 0; // milliseconds

  constructor(app) {
    this.app = app;
  }

  get etag() {
    return this.header === null ? '' : `"${this.header.revision}-${this.header.issued}"`;
  }
}

/** The snapshots that an edge answers from. */
export class Snapshots {
  #parts;
  #poll;
  #grace;
  /** @type {Map<string, Held>} */
  #held;

  /** When tend has something to do, Unix milliseconds. */
  due = 0;

  /** Until when requests need not wait for anything, Unix milliseconds; from then on, ask awaited. */
  freshUntil = -Infinity;

  /**
   * @param {object} parts
   * @param {import('./settings.mjs').Settings} parts.settings
   * @param {import('./module.mjs').Resolver} parts.resolver
   * @param {import('./origin.mjs').Origin} parts.origin
   * @param {Keep} [parts.keep]
   * @param {() => number} parts.now milliseconds, of a clock for deadlines
   * @param {() => number} parts.wall Unix milliseconds
   * @param {() => number} parts.random from 0 to 1, as Math.random
   * @param {import('./edge.mjs').Log} parts.log
   */
  constructor(parts) {
    this.#parts = parts;
    this.#poll = parts.settings.poll * 1000;
    this.#grace = parts.settings.grace;
    this.#held = new Map(parts.settings.apps.map((app) => [app, new Held(app)]));
  }

  /**
   * Whether this edge answers for an app.
   * @param {string | null} app
   * @returns {boolean}
   */
  serves(app) {
    return this.#held.has(app);
  }

  /**
   * Asks for every snapshot that it is time to ask for.
   * @returns {Promise<void>} ends with the last of them, and never fails
   */
  async tend() {
    const now = this.#parts.now();
    this.#forgetLost(now);
    for (const held of this.#held.values()) {
      if (held.flight === null && now >= held.due) this.#depart(held, now);
    }
    this.#plan();
    await Promise.all([...this.#held.values()].map((held) => held.flight));
  }

  /**
   * What a request should wait for before it is answered, for a moment: the look for news, when the last one was long
   * ago; null when the snapshots are fresh, or the origin did not answer when it was asked last.
   * @param {number} now Unix milliseconds
   * @returns {Promise<unknown> | null}
   */
  awaited(now) {
    const recent = (held) => 2 * (held.failures === 0 ? this.#poll : Math.max(this.#poll, MAX_BACKOFF));
    const old = (held) => now >= held.settled + recent(held);
    const awaited = [...this.#held.values()].filter((held) => held.flight !== null && old(held));
    return awaited.length === 0 ? null : Promise.all(awaited.map((held) => held.flight));
  }

  /**
   * Takes a snapshot that was pushed.
   * @param {string} app one that is served
   * @param {Uint8Array} sealed
   * @returns {Promise<number>} one of Outcome, when it has been kept
   * @throws {import('./module.mjs').Trapped}
   */
  async push(app, sealed) {
    const held = this.#held.get(app);
    const before = held.header;
    const outcome = this.#take(held, sealed);
    if (held.header !== before) await this.#keep(held, sealed); // the signature of one that is no news was not looked at
    return outcome;
  }

  /** The origin can be reached again: what waits for another attempt need not wait any longer. */
  resume() {
    for (const held of this.#held.values()) {
      if (held.failures > 0) held.due = 0;
    }
    this.#plan();
  }

  /** The module was restarted and holds no snapshot. All are asked for anew, at once but for those in trouble. */
  lost() {
    for (const held of this.#held.values()) {
      held.header = null;
      held.started = false;
      held.settled = -Infinity;
      if (held.failures === 0) held.due = 0;
    }
    this.#plan();
  }

  /**
   * What is held of each app.
   * @returns {Status[]}
   */
  status() {
    const now = Math.floor(this.#parts.wall() / 1000);
    return [...this.#held.values()].map(({ app, header, problem }) => {
      const status = { app, ...header ?? NO_HEADER, state: stateAt(now, header, this.#grace) };
      return problem === '' ? status : { ...status, trouble: problem };
    });
  }

  #depart(held, now) {
    held.departed = now;
    const flight = this.#fetch(held).then(() => {
      if (held.flight === flight) held.flight = null;
      this.#plan();
    });
    held.flight = flight;
  }

  /** Gives up flights whose end nobody will hear of. */
  #forgetLost(now) {
    for (const held of this.#held.values()) {
      if (held.flight === null || now < held.departed + LOST) continue;
      held.flight = null;
      held.failures++;
    }
  }

  /** Says when tend is to be called next, and until when the snapshots are fresh. */
  #plan() {
    this.due = this.freshUntil = Infinity;
    for (const held of this.#held.values()) {
      this.due = Math.min(this.due, held.flight === null ? held.due : held.departed + LOST);
      this.freshUntil = Math.min(this.freshUntil, held.settled + 2 * this.#poll);
    }
  }

  /** Fetches an app's snapshot and never fails. */
  async #fetch(held) {
    let problem = '';
    try {
      if (!held.started) await this.#start(held);
      const asked = held.etag;
      let sealed = await this.#parts.origin.snapshot(held.app, asked);
      const lost = sealed === null && asked !== '' && held.header === null; // what it is no newer than, meanwhile
      if (lost) sealed = await this.#parts.origin.snapshot(held.app, '');
      if (sealed !== null) problem = await this.#fetched(held, sealed);
    } catch (error) {
      if (error instanceof Refused && error.status === 404 && error.code === 'unknown_app') await this.#forget(held);
      else problem = error.message;
    }
    this.#settle(held, problem);
  }

  /** Begins with what was kept. Requests wait for the origin's answer all the same, as long as they wait at all. */
  async #start(held) {
    held.started = true;
    const kept = await this.#parts.keep?.get(held.app) ?? null;
    if (kept === null) return; // the module takes the newer of this and what was pushed meanwhile
    const outcome = this.#take(held, kept);
    this.#parts.log.info('found a kept snapshot', { app: held.app, outcome: outcomeName(outcome) });
  }

  /** Takes what the origin answered and returns what is wrong with it, '' for nothing. */
  async #fetched(held, sealed) {
    const before = held.header;
    const outcome = this.#take(held, sealed);
    if (outcome > Outcome.SAME) return `the snapshot that the origin answers is refused: ${outcomeName(outcome)}`;
    if (held.header !== before) await this.#keep(held, sealed);
    return '';
  }

  #take(held, sealed) {
    const now = Math.floor(this.#parts.wall() / 1000);
    const outcome = this.#parts.resolver.load(held.app, sealed, now, this.#grace);
    if (outcome > Outcome.SAME) return outcome;
    const header = headerOf(sealed);
    const { revision } = header;
    if (outcome === Outcome.LOADED) this.#parts.log.info('a newer snapshot answers', { app: held.app, revision });
    if (outcome === Outcome.LOADED || held.header === null || header.issued > held.header.issued) held.header = header;
    return outcome;
  }

  async #keep(held, sealed) {
    const seconds = held.header.expires + this.#grace - Math.floor(this.#parts.wall() / 1000);
    await this.#parts.keep?.put(held.app, sealed, seconds);
  }

  /** The origin has no such app any more; it will answer its devices. */
  async #forget(held) {
    if (held.header !== null) this.#parts.log.warn('the origin does not have this app any more', { app: held.app });
    held.header = null;
    this.#parts.resolver.forget(held.app);
    await this.#parts.keep?.forget(held.app);
  }

  /** Ends an attempt and says when the next one is due. A problem is logged when it begins, and its end too. */
  #settle(held, problem) {
    const { now, random, log } = this.#parts;
    if (problem !== held.problem) {
      if (problem !== '') log.warn(problem, { app: held.app, goesOn: held.header !== null });
      else log.info('the origin answers with snapshots again', { app: held.app });
    }
    held.problem = problem;
    held.failures = problem === '' ? 0 : held.failures + 1;
    const pause = Math.min(this.#poll * 2 ** Math.max(0, held.failures - 1), Math.max(this.#poll, MAX_BACKOFF));
    held.settled = now();
    held.due = held.settled + pause * (1 + JITTER * (2 * random() - 1));
  }
}
