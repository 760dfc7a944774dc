/**
 * PUT /snapshots/{app}: the origin sends a changed snapshot of its own accord. It needs no secret, because the
 * signature says whether to take it, whoever brings it. So anybody may try: only a few are read at once, those in
 * little time, and when many had to be refused, all have to wait. The next poll makes up for a push that did.
 */

import { JSON_HEADERS, failure, withRetry } from './answers.mjs';
import { readBody } from './body.mjs';
import { MAX_SNAPSHOT, Outcome, outcomeName } from './module.mjs';
import { within } from './relay.mjs';

/** Pushes that are read at once, and how long one may take, in milliseconds. */
const AT_ONCE = 8;
const PATIENCE = 10_000;

/** Pushes that may be refused in a row, and how often one more, in milliseconds: verifying one takes a moment. */
const REFUSED = 16;
const REFUSED_EVERY = 1000;

/** The status of a push that is not taken, by its outcome. */
const STATUS = Object.freeze({
  [Outcome.OLDER]: 409, [Outcome.UNTRUSTED]: 403, [Outcome.EXPIRED]: 403, [Outcome.OTHER_APP]: 403,
  [Outcome.MALFORMED]: 400, [Outcome.FULL]: 404,
});

/**
 * What a push is answered.
 * @typedef {object} Pushed
 * @property {number} status HTTP status
 * @property {string | null} body JSON, or none
 * @property {Record<string, string>} headers
 */

/** Takes pushed snapshots. */
export class Pushes {
  #snapshots;
  #now;
  #log;
  #reading = 0;
  #suspicion = 0; // milliseconds; the time at which the last refused push is forgiven

  /** How many were taken, and refused. */
  counts = { pushes: 0, refused_pushes: 0 };

  /**
   * @param {object} parts
   * @param {import('./snapshots.mjs').Snapshots} parts.snapshots
   * @param {() => number} parts.now Unix milliseconds
   * @param {import('./edge.mjs').Log} parts.log
   */
  constructor({ snapshots, now, log }) {
    this.#snapshots = snapshots;
    this.#now = now;
    this.#log = log;
  }

  /**
   * Takes or refuses a push.
   * @param {import('./body.mjs').Readable} request
   * @param {string | null} app
   * @returns {Promise<Pushed>}
   */
  async take(request, app) {
    if (!this.#snapshots.serves(app)) return refusal(404, 'unknown_app', 'this edge does not serve such an app');
    if (this.#reading === AT_ONCE || this.#suspicion > this.#now() + (REFUSED - 1) * REFUSED_EVERY) {
      const busy = refusal(429, 'too_many_requests', 'too many pushes at once, or too many that were refused');
      return { ...busy, headers: withRetry(JSON_HEADERS, REFUSED_EVERY / 1000) };
    }
    this.#reading++;
    try {
      const sealed = await within(PATIENCE, readBody(request, MAX_SNAPSHOT), undefined);
      if (sealed === undefined) return refusal(408, 'timeout', 'the snapshot did not arrive in time');
      if (sealed === null) return refusal(413, 'body_too_large', `a snapshot has at most ${MAX_SNAPSHOT} bytes`);
      return await this.#load(app, sealed);
    } finally {
      this.#reading--;
    }
  }

  async #load(app, sealed) {
    const outcome = await this.#snapshots.push(app, sealed);
    if (outcome <= Outcome.SAME) {
      this.counts.pushes++;
      return { status: 204, body: null, headers: {} };
    }
    this.counts.refused_pushes++;
    this.#suspicion = Math.max(this.#suspicion, this.#now()) + REFUSED_EVERY;
    this.#log.warn('a pushed snapshot is refused', { app, outcome: outcomeName(outcome) });
    return refusal(STATUS[outcome] ?? 400, outcomeName(outcome), 'this edge does not take the snapshot');
  }
}

const refusal = (status, code, message) => ({ status, body: failure(code, message), headers: JSON_HEADERS });
