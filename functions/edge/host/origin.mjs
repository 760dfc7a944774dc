/**
 * The way to the origin: the only place that knows its address and the edge token.
 *
 * Requests of the edge itself, for snapshots and telemetry, carry the token; what is forwarded for a device carries
 * what the device sent and, as from any proxy, its address, which an origin believes if it trusts this edge. Every
 * request has a deadline, answers are read within bounds, and redirects are not followed: they could take the token
 * elsewhere.
 *
 * An origin that answers 5xx cannot help a device, so that counts as one that cannot be reached. When it could not be
 * reached a few times in a row, forwarding pauses for a moment: devices get the edge's own answer at once instead of
 * one deadline later.
 */

import { readBody } from './body.mjs';
import { MAX_SNAPSHOT } from './module.mjs';
import { FORWARDED_FOR } from './source.mjs';

/** How long the origin may take to begin its answer, in milliseconds. */
const PATIENCE = 5000;

/** How long it may take from there to the end of what the edge asked for itself. */
const PATIENCE_WHOLE = 15_000;

/** After so many failures in a row forwarding pauses, for so many milliseconds at a time. */
const FAILURES = 3;
const PAUSE = 1000;

/** The largest answer to telemetry, in bytes: a batch of a hundred gets some ten kilobytes. */
const MAX_ANSWER = 4 << 20;

/** Headers that concern one connection, RFC 9110 section 7.6.1, and those that the next one makes itself. */
const OF_THE_CONNECTION = new Set([
  'connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer',
  'transfer-encoding', 'upgrade', 'expect', 'host', 'content-length',
]);

/** The origin cannot be reached, or cannot help: no connection, no answer in time, 5xx. */
export class Unreachable extends Error {
  /**
   * @param {string} message
   * @param {number} [retryAfter] seconds that the origin asks for; 0 if it does not
   */
  constructor(message, retryAfter = 0) {
    super(message);
    this.name = 'Unreachable';
    this.retryAfter = retryAfter;
  }
}

/** The origin understood and does not want it. Asking the same again is of no use. */
export class Refused extends Error {
  /**
   * @param {string} doing what was being done
   * @param {number} status HTTP status
   * @param {string} code the origin's code for it; '' if it gave none
   */
  constructor(doing, status, code) {
    super(`${doing}: the origin answers ${status} ${code}${remedies[status] ?? ''}`);
    this.name = 'Refused';
    this.status = status;
    this.code = code;
  }
}

const remedies = {
  401: ' [the token in PALIER_EDGE_TOKEN is not known there: `palier token create NAME --role edge` makes one]',
  403: ' [the token in PALIER_EDGE_TOKEN needs the role edge and must be good for this app]',
};

/**
 * @typedef {object} Answer what a device is to be answered
 * @property {number} status HTTP status
 * @property {string} body JSON
 * @property {number} retryAfter seconds for the Retry-After header; 0 is no header
 */

/** The origin, as an edge uses it. */
export class Origin {
  #url;
  #token;
  #fetch;
  #now;
  #failures = 0; // in a row
  #pausedUntil = 0; // milliseconds

  /** Called when the origin answers that could not be reached for a while. */
  back = () => {};

  /**
   * @param {object} parts
   * @param {import('./settings.mjs').Settings} parts.settings
   * @param {typeof fetch} parts.fetch
   * @param {() => number} parts.now Unix milliseconds
   */
  constructor({ settings, fetch, now }) {
    this.#url = settings.origin;
    this.#token = settings.token;
    this.#fetch = fetch;
    this.#now = now;
  }

  /**
   * Whether the origin could not be reached a moment ago, so that asking for a waiting device is not worth its time.
   * @returns {boolean}
   */
  get paused() {
    return this.#now() < this.#pausedUntil;
  }

  /**
   * Fetches an app's sealed snapshot.
   * @param {string} app
   * @param {string} etag of the one that is held; '' is none
   * @returns {Promise<Uint8Array | null>} null when the origin has nothing newer than the ETag says
   * @throws {Unreachable | Refused}
   */
  async snapshot(app, etag) {
    const doing = `fetching the snapshot of ${app}`;
    const headers = { authorization: `Bearer ${this.#token}` };
    if (etag !== '') headers['if-none-match'] = etag;
    const path = `/snapshots/${encodeURIComponent(app)}`;
    const { response, bytes } = await this.#whole(doing, path, { headers }, MAX_SNAPSHOT);
    if (response.status === 304) return null;
    if (response.status !== 200) throw refusal(doing, response, bytes);
    return bytes;
  }

  /**
   * Hands over a batch of telemetry.
   * @param {string} batch the body of POST /relay
   * @returns {Promise<{taken: boolean, retryAfter: number, answers: Answer[]}>} whether the checks were taken, in how
   *   many seconds to try again if not, and an answer for each request
   * @throws {Unreachable | Refused}
   */
  async relay(batch) {
    const doing = 'handing over telemetry';
    const headers = { authorization: `Bearer ${this.#token}`, 'content-type': 'application/json' };
    const init = { method: 'POST', body: batch, headers };
    const { response, bytes } = await this.#whole(doing, '/relay', init, MAX_ANSWER);
    if (response.status !== 200) throw refusal(doing, response, bytes);
    try {
      const { checks, answers = [] } = JSON.parse(decode(bytes));
      return {
        taken: checks?.taken !== false, retryAfter: checks?.retry_after ?? 0,
        answers: answers.map(({ status, body, retry_after: retryAfter = 0 }) => ({ status, body, retryAfter })),
      };
    } catch {
      throw new Unreachable(`${doing}: what answers is no relay`);
    }
  }

  /**
   * Sends one device's telemetry by itself, without the token.
   * @param {string} path
   * @param {string} body
   * @param {string} [source] the network that it came from
   * @returns {Promise<Answer>}
   * @throws {Unreachable}
   */
  async post(path, body, source = '') {
    const headers = { 'content-type': 'application/json' };
    if (source !== '') headers[FORWARDED_FOR] = source.split('/')[0];
    const init = { method: 'POST', body, headers };
    const { response, bytes } = await this.#whole('handing over one device\'s telemetry', path, init, MAX_ANSWER);
    return { status: response.status, body: decode(bytes), retryAfter: retryAfterOf(response) };
  }

  /**
   * Forwards a device's request and returns the origin's answer as soon as it begins.
   * @param {{method: string, headers: Iterable<[string, string]>}} request
   * @param {string} target path and query
   * @param {Uint8Array | null} body
   * @param {string} [peer] the address that asks here
   * @returns {Promise<Response>}
   * @throws {Unreachable}
   */
  forward(request, target, body, peer) {
    if (this.paused) return Promise.reject(new Unreachable('forwarding: the origin could not be reached a moment ago'));
    const kept = [...request.headers].filter(([name]) => !OF_THE_CONNECTION.has(name.toLowerCase()));
    const headers = new Headers(kept);
    if (peer !== undefined) headers.append(FORWARDED_FOR, peer);
    const init = { method: request.method, headers, body: body === null || body.length === 0 ? undefined : body };
    return this.#ask('forwarding', target, init, (response) => response);
  }

  /** Asks and reads the answer, which has a moment longer for that. */
  #whole(doing, target, init, limit) {
    return this.#ask(doing, target, { ...init, headers: new Headers(init.headers) }, async (response, extend) => {
      extend(PATIENCE_WHOLE);
      const bytes = await readBody(response, limit);
      if (bytes === null) throw new Unreachable(`${doing}: the answer is larger than ${limit} bytes`);
      return { response, bytes };
    });
  }

  /** Asks, and within the deadline takes what it wants of the answer. */
  async #ask(doing, target, init, take) {
    const deadline = new AbortController();
    const abort = () => deadline.abort();
    let timer = setTimeout(abort, PATIENCE);
    const extend = (milliseconds) => {
      clearTimeout(timer);
      timer = setTimeout(abort, milliseconds);
    };
    init.headers.set('accept-encoding', 'identity'); // so that a length is the length of what is read
    try {
      const response = await this.#fetch(this.#url + target, { ...init, redirect: 'manual', signal: deadline.signal });
      if (response.status >= 500) {
        await response.body?.cancel();
        throw new Unreachable(`${doing}: the origin answers ${response.status}`);
      }
      const taken = await take(response, extend);
      this.#reached();
      return taken;
    } catch (error) {
      if (++this.#failures >= FAILURES) this.#pausedUntil = this.#now() + PAUSE;
      if (error instanceof Unreachable) throw error;
      const why = deadline.signal.aborted ? 'it does not answer in time' : error.cause?.code ?? error.message;
      throw new Unreachable(`${doing}: the origin cannot be reached: ${why}`);
    } finally {
      clearTimeout(timer);
    }
  }

  #reached() {
    const away = this.#failures >= FAILURES;
    this.#failures = 0;
    this.#pausedUntil = 0;
    if (away) this.back();
  }
}

/** The seconds of a Retry-After header, 0 if there is none. */
const retryAfterOf = (response) => Number(response.headers.get('retry-after')) || 0;

const decode = (bytes) => new TextDecoder().decode(bytes);

/** The error that a refusing answer stands for. Too many requests is a matter of time, everything else is not. */
function refusal(doing, response, bytes) {
  let code = '';
  try {
    code = String(JSON.parse(decode(bytes)).error ?? '').slice(0, 100);
  } catch {
    // from somebody in between, perhaps: the status says enough
  }
  if (response.status !== 429) return new Refused(doing, response.status, code);
  return new Unreachable(`${doing}: the origin answers 429 ${code}`, retryAfterOf(response));
}
