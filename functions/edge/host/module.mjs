/**
 * The WebAssembly module as JavaScript sees it. functions/edge/main.go says what it exports; here that becomes a class
 * whose methods take and return bytes.
 *
 * A call costs little if nothing is made for it. The room for a body is asked for once and kept; the views of the
 * module's memory are renewed only when the memory has grown, which replaces its buffer; the answer is copied out once,
 * because the next call overwrites it.
 *
 * TinyGo's build frees nothing. Answering takes no memory, but each snapshot leaves a few times its size behind. So an
 * instance that has grown is replaced by a fresh one, to which all snapshots are loaded again, before it takes another.
 *
 * A module that traps is in no known state. It is given up, another instance takes its place, and whoever loaded
 * snapshots is told that they are gone. Nothing is known that makes it trap; but an edge must not need somebody to
 * restart it.
 */

/** What to do with a result. */
export const Verdict = Object.freeze({ ANSWERED: 0, NEEDS_FACTS: 1, NO_SNAPSHOT: 2 });

/** What became of a sealed snapshot. */
export const Outcome = Object.freeze({
  LOADED: 0, SAME: 1, OLDER: 2, UNTRUSTED: 3, EXPIRED: 4, OTHER_APP: 5, MALFORMED: 6, FULL: 7,
});

const OUTCOMES = ['loaded', 'same', 'older', 'untrusted', 'expired', 'other_app', 'malformed', 'full'];

/**
 * The outcome as a word for logs and answers, the same as in internal/edge.
 * @param {number} outcome
 * @returns {string}
 */
export const outcomeName = (outcome) => OUTCOMES[outcome] ?? 'unknown';

/** The largest body of a check, in bytes; a larger one is refused without being read. capgo.MaxCheckBody */
export const MAX_CHECK = 64 << 10;

/** The largest sealed snapshot, in bytes. seal.MaxBytes */
export const MAX_SNAPSHOT = 8 << 20;

/**
 * @typedef {object} Result the answer to a check; the object is reused by the next call
 * @property {number} verdict one of Verdict
 * @property {number} status HTTP status
 * @property {Uint8Array} answer JSON; the caller's own
 * @property {number} retryAfter seconds for the Retry-After header; 0 is no header
 * @property {string} note what to tell the origin if the answer is sent: a JSON object without its end; '' is nothing
 * @property {boolean} stale the snapshot has expired and answers by grace
 */

/**
 * Makes the imports of an instance, which may look at its memory when they are called.
 * @typedef {(memory: () => WebAssembly.Memory) => WebAssembly.Imports} Imports
 */

/** By how many bytes an instance may grow before a fresh one takes its place. A Worker has 128 MB for everything. */
const GROWTH = 16 << 20;

const WORD = 4; // bytes

/**
 * @typedef {object} Header the second line of a sealed snapshot
 * @property {number} revision
 * @property {number} issued Unix seconds
 * @property {number} expires Unix seconds
 */

/**
 * Reads a sealed snapshot's header. Only of one that the module took.
 * @param {Uint8Array} sealed
 * @returns {Header}
 */
export function headerOf(sealed) {
  const lines = new TextDecoder().decode(sealed.subarray(0, 2048)).split('\n', 2);
  const [revision, issued, expires] = lines[1].split(' ').slice(3).map(Number);
  return { revision, issued, expires };
}

/**
 * What an instance must be told of an app to be where another one is.
 * @typedef {object} Held
 * @property {Uint8Array} sealed
 * @property {number} issued Unix seconds
 * @property {number} now Unix seconds; when it was loaded
 * @property {number} grace seconds
 * @property {boolean} forgotten
 */

/** The module trapped in a call, and another instance has taken its place. */
export class Trapped extends Error {
  /** @param {string} call @param {Error} cause */
  constructor(call, cause) {
    super(`the module trapped in ${call} and was restarted: ${cause.message}`, { cause });
    this.name = 'Trapped';
  }
}

/** Answers checks from the snapshots it was given. */
export class Resolver {
  #module;
  #imports;
  #keys;
  #text = new TextDecoder();
  #bytes = new TextEncoder();

  /** @type {Map<string, Held>} */
  #held = new Map();

  #exports;
  #born = 0; // bytes of memory that the instance had before it took more
  #memory; // the module's, whose buffer is another one after it has grown
  #octets; // views of that buffer
  #view;
  #room = 0; // address of room for MAX_CHECK bytes; 0 when it must be asked for again
  #result = { verdict: 0, status: 0, answer: new Uint8Array(0), retryAfter: 0, note: '', stale: false };

  /** Called when another instance took this one's place: the snapshots are gone. */
  restarted = () => {};

  /**
   * @param {WebAssembly.Module} module
   * @param {Uint8Array[]} keys raw public keys to trust
   * @param {Imports} [imports] what the module asks of its host; TinyGo's build asks nothing
   */
  constructor(module, keys, imports = () => ({})) {
    this.#module = module;
    this.#imports = imports;
    this.#keys = keys;
    this.#instantiate();
  }

  #instantiate() {
    this.#exports = new WebAssembly.Instance(this.#module, this.#imports(() => this.#exports.memory)).exports;
    this.#memory = this.#exports.memory;
    this.#exports._initialize();
    this.#room = 0;
    for (const key of this.#keys) {
      this.#write(key);
      if (this.#exports.trust(key.length) !== 1) throw new Error('the module does not take the public key');
    }
    this.#born = this.#memory.buffer.byteLength;
  }

  /** Replaces an instance that has grown by one that is where it was. */
  #refresh() {
    if (this.#memory.buffer.byteLength < this.#born + GROWTH) return;
    this.#instantiate();
    for (const [app, { sealed, now, grace, forgotten }] of this.#held) {
      this.#offer(app, sealed, now, grace);
      if (forgotten) this.#drop(app);
    }
    this.#born = this.#memory.buffer.byteLength;
  }

  /** Calls an export. */
  #call(name, ...numbers) {
    try {
      return this.#exports[name](...numbers) >>> 0;
    } catch (error) {
      throw this.#trapped(name, error);
    }
  }

  /** Replaces the instance and returns the error that says so. */
  #trapped(name, error) {
    this.#held.clear();
    this.#instantiate();
    this.restarted();
    return new Trapped(name, error);
  }

  /**
   * Takes the sealed snapshot that was fetched for an app.
   * @param {string} app
   * @param {Uint8Array} sealed
   * @param {number} now Unix seconds
   * @param {number} grace seconds
   * @returns {number} one of Outcome; only LOADED and SAME leave it answering from this snapshot
   * @throws {Trapped}
   */
  load(app, sealed, now, grace) {
    if (sealed.length > MAX_SNAPSHOT) return Outcome.MALFORMED;
    this.#refresh();
    const outcome = this.#offer(app, sealed, now, grace);
    if (outcome > Outcome.SAME) return outcome;
    const { issued } = headerOf(sealed);
    if (outcome === Outcome.LOADED || issued > this.#held.get(app).issued) { // else its signature was not looked at
      this.#held.set(app, { sealed, issued, now, grace, forgotten: false });
    }
    return outcome;
  }

  #offer(app, sealed, now, grace) {
    const id = this.#bytes.encode(app);
    this.#write(id, sealed);
    return this.#call('load', id.length, sealed.length, now, grace);
  }

  /**
   * Stops answering for an app.
   * @param {string} app
   */
  forget(app) {
    this.#drop(app);
    const held = this.#held.get(app);
    if (held !== undefined) held.forgotten = true;
  }

  #drop(app) {
    const id = this.#bytes.encode(app);
    this.#write(id);
    this.#call('forget', id.length);
  }

  /**
   * Answers the body of a POST /updates.
   * @param {Uint8Array} body
   * @param {number} now Unix seconds
   * @returns {Result}
   * @throws {Trapped}
   */
  check(body, now) {
    if (body.length > MAX_CHECK) return this.tooLarge();
    if (this.#room === 0) {
      this.#room = this.#call('buffer', MAX_CHECK);
      this.#renew();
    } else if (this.#octets.buffer !== this.#memory.buffer) {
      this.#renew();
    }
    this.#octets.set(body, this.#room);
    try {
      return this.#read(this.#exports.check(body.length, 0, now) >>> 0);
    } catch (error) {
      throw this.#trapped('check', error);
    }
  }

  /**
   * The answer to a check of more than MAX_CHECK bytes, which need not be read.
   * @returns {Result}
   * @throws {Trapped}
   */
  tooLarge() {
    return this.#read(this.#call('check', MAX_CHECK + 1, 0, 0));
  }

  /**
   * The answer to a request that neither the edge nor the origin can answer.
   * @returns {Result}
   * @throws {Trapped}
   */
  unavailable() {
    return this.#read(this.#call('unavailable'));
  }

  /** Forgets which checks were noted, so that they are noted anew. */
  renote() {
    this.#call('renote');
  }

  /** Writes the parts of an input one after the other; what was there before is gone. */
  #write(...parts) {
    let at = this.#call('buffer', parts.reduce((sum, part) => sum + part.length, 0));
    this.#room = 0;
    this.#renew();
    for (const part of parts) {
      this.#octets.set(part, at);
      at += part.length;
    }
  }

  /** Views the memory as it is now. */
  #renew() {
    this.#octets = new Uint8Array(this.#memory.buffer);
    this.#view = new DataView(this.#memory.buffer);
  }

  /** Reads the eight numbers of a result, and what they point at. */
  #read(at) {
    if (this.#octets.buffer !== this.#memory.buffer) this.#renew();
    const view = this.#view;
    const result = this.#result;
    result.verdict = view.getUint32(at, true);
    result.status = view.getUint32(at + WORD, true);
    const answer = view.getUint32(at + 2 * WORD, true);
    result.answer = this.#octets.slice(answer, answer + view.getUint32(at + 3 * WORD, true));
    result.retryAfter = view.getUint32(at + 4 * WORD, true);
    result.note = this.#note(view.getUint32(at + 5 * WORD, true), view.getUint32(at + 6 * WORD, true));
    result.stale = view.getUint32(at + 7 * WORD, true) === 1;
    return result;
  }

  #note(at, size) {
    return size === 0 ? '' : this.#text.decode(this.#octets.subarray(at, at + size));
  }
}
