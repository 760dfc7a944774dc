/**
 * Carries telemetry to the origin: what devices send, and the notes that say which devices asked for an update.
 *
 * What arrives within a moment leaves as one request, and each device gets its own answer out of the origin's. The
 * first request of a batch has the timer; the others wait for its outcome. In workerd each request has a context of its
 * own, and what one of them waits for ends in another's: that works with compatibility dates from 2024-10-14 on
 * (handle_cross_request_promise_resolution). The first request's context is kept alive by waitUntil also when its
 * device has gone, and every waiting request has a deadline of its own, which answers it if that context dies all the
 * same.
 *
 * While the origin cannot be reached, requests wait in the backlog and are sent again, oldest first. Only one that is
 * durable lets a device believe that its telemetry is safe; otherwise the device is asked to come again, and what
 * arrives twice counts once.
 *
 * Notes are in no hurry and nobody waits for them. They leave with a batch or after a while on their own. They are not
 * kept beyond the process or the bounds: those that are lost are noted anew at the devices' next checks.
 */

import { Refused, Unreachable } from './origin.mjs';
import { sizeOf } from './queue.mjs';

/** The limits of POST /relay, which takes 1 MiB: notes have up to a quarter of a kilobyte each. */
const MAX_REQUESTS = 100;
const MAX_REQUEST_BYTES = 512 << 10;
const MAX_NOTES = 1000;

/** How many notes may wait. */
const MAX_NOTES_WAITING = 10_000;

/** How many times longer than requests notes are gathered. */
const NOTES_PATIENCE = 10;

/** How much later than it should a timer fires at most, in milliseconds; after that its context is gone. */
const PUNCTUAL = 2000;

/** How long a device waits for its answer at most, in milliseconds, beyond the time for gathering. */
const DEVICE_PATIENCE = 10_000;

/** Between two attempts to send the backlog, in milliseconds: doubled with each failure up to the longest. */
const BACKOFF = 1000;
const MAX_BACKOFF = 30_000;

/** Batches of the backlog that are sent at a time, and after how many milliseconds that is given up for lost. */
const BATCHES_AT_ONCE = 20;

/** The longest rest that the origin is granted, in seconds. */
const MAX_REST = 300;
const LOST = 60_000;

/** What a device is answered whose telemetry is safe here. capgo.HealthBody */
const TAKEN = Object.freeze({ status: 200, body: '{"status":"ok"}', retryAfter: 0 });

/** Requests that leave together. */
class Batch {
  lines = [];
  bytes = 0;
  /** @type {Promise<(import('./origin.mjs').Answer | null)[]>} */
  answers;

  /** @param {number} due when it leaves, Unix milliseconds */
  constructor(due) {
    this.due = due;
    this.left = new Promise((resolve) => {
      this.leave = resolve;
    });
  }

  /** Whether it has room for so many bytes, and will leave: one that is late never will. */
  takes(size, now) {
    return this.lines.length < MAX_REQUESTS && this.bytes + size <= MAX_REQUEST_BYTES && now < this.due + PUNCTUAL;
  }
}

/** Carries telemetry to the origin. */
export class Relay {
  #parts;
  #gather;
  /** @type {Batch | null} */
  #open = null;
  /** @type {{text: string, at: number, source: string}[]} */
  #notes = [];
  #notesAway = 0; // on their way
  #notesLeave = -Infinity; // milliseconds; until then somebody sees to it that the notes at hand leave
  #overflowed = false; // notes were dropped and are not noted anew yet
  #notesFrom = 0; // milliseconds; the origin wants no notes before
  #restsUntil = 0; // milliseconds; the origin wants no batch before
  #failures = 0; // of sending the backlog, in a row
  #sending = -Infinity; // milliseconds; since when the backlog is being sent

  /** When tend has something to do, Unix milliseconds. */
  due = 0;

  /** Notes that were lost, and requests that waited and that the origin then refused. */
  dropped = 0;

  /** Batches that the origin took, and requests that were kept and acknowledged for it. */
  counts = { batches: 0, kept: 0 };

  /**
   * @param {object} parts
   * @param {import('./settings.mjs').Settings} parts.settings
   * @param {import('./origin.mjs').Origin} parts.origin
   * @param {import('./queue.mjs').Backlog} parts.backlog
   * @param {() => void} parts.renote makes the module forget what it noted
   * @param {() => number} parts.now Unix milliseconds
   * @param {() => number} parts.random from 0 to 1, as Math.random
   * @param {import('./edge.mjs').Log} parts.log
   */
  constructor(parts) {
    this.#parts = parts;
    this.#gather = parts.settings.gather;
  }

  /**
   * Takes a device's telemetry.
   * @param {string} path
   * @param {string} body
   * @param {string} source the network that it came from; '' if that is not known
   * @param {import('./edge.mjs').Context} context
   * @returns {Promise<import('./origin.mjs').Answer | null>} null when the device has to come again
   */
  take(path, body, source, context) {
    const line = JSON.stringify({ path, body, source: source || undefined });
    return within(this.#gather + DEVICE_PATIENCE, this.#answer(line, context), null);
  }

  /**
   * Takes the note of a check.
   * @param {string} text as the module gave it
   * @param {string} source the network that asked; '' if that is not known
   * @param {import('./edge.mjs').Context} context
   */
  note(text, source, context) {
    const now = this.#parts.now();
    this.#hold([{ text, at: now, source }]);
    if (now < this.#notesLeave) return;
    const wait = NOTES_PATIENCE * this.#gather;
    this.#notesLeave = now + wait + PUNCTUAL;
    context.waitUntil(after(wait).then(() => {
      this.#notesLeave = -Infinity;
      return this.#sendNotes();
    }));
  }

  /**
   * Sends of the backlog what it is time to send.
   * @returns {Promise<void>} never fails
   */
  async tend() {
    const now = this.#parts.now();
    if (now < this.#sending + LOST) return;
    this.#sending = now;
    this.due = now + LOST;
    const sent = await this.#sendBacklog().catch((error) => {
      this.#parts.log.error('telemetry that waits cannot be sent', { problem: error.message });
      return false;
    });
    this.#sending = -Infinity;
    this.#failures = sent ? 0 : this.#failures + 1;
    this.#plan();
  }

  /** The origin can be reached again: what waits need not wait any longer. */
  resume() {
    this.#failures = 0;
    this.due = 0;
  }

  /**
   * Sends what is at hand, once, for a process that is about to end.
   * @returns {Promise<void>} never fails
   */
  async flush() {
    const batch = this.#open;
    batch?.leave();
    await batch?.answers;
    for (let left = Infinity; this.#notes.length > 0 && this.#notes.length < left;) {
      left = this.#notes.length;
      await this.#deliver([]);
    }
  }

  /**
   * What waits.
   * @returns {{requests: number, bytes: number, checks: number, dropped: number}}
   */
  status() {
    const { requests, bytes } = this.#parts.backlog;
    return { requests, bytes, checks: this.#notes.length + this.#notesAway, dropped: this.dropped };
  }

  /** The answer to one request: as one of a batch, or by itself when it is too large for one. */
  async #answer(line, context) {
    const size = sizeOf(line);
    if (size > MAX_REQUEST_BYTES) return (await this.#send([line]))[0];
    const batch = this.#batch(size, context);
    const index = batch.lines.push(line) - 1;
    batch.bytes += size;
    return (await batch.answers)[index];
  }

  /** The batch for a request: the open one, or another, which leaves after a moment or when it is told to. */
  #batch(size, context) {
    const now = this.#parts.now();
    if (this.#open?.takes(size, now)) return this.#open;
    this.#open?.leave();
    const batch = new Batch(now + this.#gather);
    batch.answers = Promise.race([after(this.#gather), batch.left]).then(() => {
      if (this.#open === batch) this.#open = null;
      return this.#send(batch.lines);
    });
    context.waitUntil(batch.answers);
    this.#open = batch;
    return batch;
  }

  /** Sends requests, and shelves those that the origin did not answer. */
  async #send(lines) {
    const answers = this.#unwanted() ? null : await this.#deliver(lines);
    const unanswered = answers === null ? lines : lines.filter((_, index) => answers[index] === null);
    if (unanswered.length === 0) return answers;
    const shelved = await this.#shelve(unanswered);
    return lines.map((_, index) => answers?.[index] ?? shelved);
  }

  /** Keeps requests for later and returns what their devices are answered. */
  async #shelve(lines) {
    const { backlog, log } = this.#parts;
    const taken = await backlog.append(lines).catch((error) => {
      log.error('telemetry cannot be kept', { problem: error.message });
      return false;
    });
    if (taken && this.due === Infinity) this.#plan();
    if (!taken || !backlog.durable) return null;
    this.counts.kept += lines.length;
    return TAKEN;
  }

  /**
   * Delivers requests, and notes along with them.
   * @returns {Promise<(import('./origin.mjs').Answer | null)[] | null>} null when the origin cannot be reached
   */
  async #deliver(lines) {
    if (lines.length === 1 && sizeOf(lines[0]) > MAX_REQUEST_BYTES) return this.#deliverEach(lines);
    const { origin, now } = this.#parts;
    const notes = now() < this.#notesFrom ? [] : this.#notes.splice(0, MAX_NOTES);
    this.#notesAway += notes.length;
    try {
      const { taken, retryAfter, answers } = await origin.relay(encode(notes, lines, now()));
      if (!taken) this.#notTaken(notes, retryAfter);
      else if (this.#overflowed) this.#noteAnew();
      this.counts.batches++;
      return lines.map((_, index) => answers[index] ?? null);
    } catch (error) {
      if (error instanceof Refused) return await this.#refused(error, notes, lines);
      if (!(error instanceof Unreachable)) this.#parts.log.error('a batch was not sent', { problem: error.message });
      this.#hold(notes);
      this.#restsUntil = now() + 1000 * Math.min(error.retryAfter ?? 0, MAX_REST);
      if (this.due === Infinity) this.#plan();
      return null;
    } finally {
      this.#notesAway -= notes.length;
    }
  }

  /** The origin takes no batches of this edge; the devices' own requests it may. */
  #refused(error, notes, lines) {
    this.#parts.log.warn(error.message, { requests: lines.length, checks: notes.length });
    this.#lose(notes.length);
    return this.#deliverEach(lines);
  }

  /** The origin took the requests, and wants the notes later. */
  #notTaken(notes, retryAfter) {
    this.#hold(notes);
    if (notes.length > 0) this.#notesFrom = this.#parts.now() + 1000 * Math.min(Math.max(1, retryAfter), MAX_REST);
  }

  /** Whether it is known that the origin cannot be reached, or wants nothing now. */
  #unwanted() {
    return this.#parts.origin.paused || this.#parts.now() < this.#restsUntil;
  }

  /** Delivers requests one by one, as their devices would: for an origin that does not take batches of this edge. */
  async #deliverEach(lines) {
    const answers = await Promise.all(lines.map((line) => {
      const { path, body, source } = JSON.parse(line);
      return this.#parts.origin.post(path, body, source).catch(() => null);
    }));
    return answers.length > 0 && answers.every((answer) => answer === null) ? null : answers;
  }

  async #sendNotes() {
    if (this.#notes.length > 0 && !this.#unwanted()) await this.#deliver([]);
    if (this.#notes.length > 0 && this.due === Infinity) this.#plan();
  }

  /** Sends the backlog, oldest first, and reports whether the origin took what it was offered. */
  async #sendBacklog() {
    const { backlog } = this.#parts;
    for (let batch = 0; batch < BATCHES_AT_ONCE; batch++) {
      this.#sending = this.#parts.now(); // each batch shows that this has not come to nothing
      this.due = this.#sending + LOST;
      const lines = await backlog.head(MAX_REQUESTS, MAX_REQUEST_BYTES);
      if (lines.length === 0) break;
      const answers = await this.#deliver(lines);
      if (answers === null) return false;
      const again = lines.filter((_, index) => answers[index] === null || busy(answers[index]));
      await backlog.remove(lines.length, again);
      this.#countRefused(lines, answers);
      if (again.length > 0) return false;
    }
    return this.#notes.length === 0 || this.#parts.now() < this.#notesFrom || await this.#deliver([]) !== null;
  }

  /** Requests that waited and that the origin refuses for good are gone; their devices believe that they are safe. */
  #countRefused(lines, answers) {
    for (const [index, answer] of answers.entries()) {
      if (answer === null || answer.status < 300 || busy(answer)) continue;
      this.dropped++;
      const { path } = JSON.parse(lines[index]);
      this.#parts.log.warn('the origin refuses telemetry that waited; it is dropped', { path, status: answer.status });
    }
  }

  /** Says when tend is to be called next: when what waits is to be tried again. */
  #plan() {
    const { backlog, now, random } = this.#parts;
    this.due = Infinity;
    if (backlog.requests + this.#notes.length === 0) return;
    const pause = this.#failures === 0 ? 0 : Math.min(BACKOFF * 2 ** (this.#failures - 1), MAX_BACKOFF);
    this.due = Math.max(now() + pause * (0.5 + 0.5 * random()), this.#restsUntil);
    if (backlog.requests === 0) this.due = Math.max(this.due, this.#notesFrom);
  }

  /** Holds notes until they can be sent; there is room for so many. */
  #hold(notes) {
    const room = Math.max(0, MAX_NOTES_WAITING - this.#notes.length);
    this.#notes.push(...notes.slice(0, room));
    if (notes.length > room) this.#lose(notes.length - room);
  }

  #lose(notes) {
    this.dropped += notes;
    this.#overflowed ||= notes > 0;
  }

  /** Notes were lost, and there is room for them again. */
  #noteAnew() {
    this.#overflowed = false;
    this.#parts.renote();
  }
}

/** The body of POST /relay. Notes lack their end, which says how old they are and where they come from. */
function encode(notes, lines, now) {
  const checks = notes.map(({ text, at, source }) => {
    const age = Math.max(0, Math.floor((now - at) / 1000));
    return `${text},"age":${age}${source === '' ? '' : `,"source":"${source}"`}}`;
  });
  return `{"checks":[${checks.join(',')}],"requests":[${lines.join(',')}]}`;
}

/** Whether the origin wants the same again, later. It answers 429 for an app that it does not have, too: that stays. */
const busy = ({ status, body }) => status >= 500 || status === 429 && !body.includes('"error":"on_premise_app"');

const after = (milliseconds) => new Promise((resolve) => void setTimeout(resolve, milliseconds));

/** Waits for the work, and returns otherwise if it takes longer. */
export async function within(milliseconds, work, otherwise) {
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, milliseconds, otherwise);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
