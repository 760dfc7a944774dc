/**
 * Telemetry that waits on disk for an origin that cannot be reached. What append acknowledged is on the disk: the
 * device may forget it, and the process may die.
 *
 * One file holds what was appended at once, a line for each request, and its name is its place in the order. It is
 * written under another name, synced, renamed, and the folder is synced: a file with the right name is whole. Taking
 * lines out works the same way, so a crash at any moment leaves every line in the spool at least once; what is sent
 * twice counts once.
 *
 * A folder should belong to one process. If two share it by mistake, nothing is overwritten, because names are drawn,
 * and some of it is sent twice. For runtimes with Node's file system: Node and Deno.
 */

import { mkdir, open, readFile, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { fitting, sizeOf } from './queue.mjs';

const WHOLE = /^\d{12}-[0-9a-f]{8}\.jsonl$/;

/** What each line costs beside itself: its newline. */
const OVERHEAD = 1;

/** Writes a file so that it is there whole or not at all, also after a crash. */
async function replace(folder, name, content) {
  const half = join(folder, `${name}.part`);
  try {
    const file = await open(half, 'w', 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(half, join(folder, name));
  } catch (error) { // a full disk must not collect halves
    await rm(half, { force: true }).catch(() => {});
    throw error;
  }
  await syncFolder(folder);
}

/** Makes renames and removals in a folder last. */
async function syncFolder(folder) {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** @typedef {import('./queue.mjs').Backlog} Backlog */

/**
 * A backlog on disk.
 * @implements {Backlog}
 */
export class Spool {
  #folder;
  #limit;
  #next = 1;
  #mark = crypto.getRandomValues(new Uint32Array(1))[0].toString(16).padStart(8, '0'); // of this process
  /** @type {{name: string, sizes: number[]}[]} oldest first */
  #files = [];
  #turn = Promise.resolve(); // one change at a time

  durable = true;
  requests = 0;
  bytes = 0;

  /** @param {string} folder @param {number} limit bytes that may wait */
  constructor(folder, limit) {
    this.#folder = folder;
    this.#limit = limit;
  }

  /**
   * Opens a spool, with what an earlier process left in it. The folder is made if it is not there.
   * @param {string} folder
   * @param {number} limit bytes that may wait
   * @returns {Promise<Spool>}
   * @throws {Error} when the folder cannot be used
   */
  static async open(folder, limit) {
    const spool = new Spool(folder, limit);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await syncFolder(dirname(folder));
    const names = (await readdir(folder)).sort();
    for (const name of names) {
      if (name.endsWith('.part')) await rm(join(folder, name), { force: true }); // was never acknowledged
      if (WHOLE.test(name)) spool.#add(name, await spool.#lines(name));
    }
    return spool;
  }

  append(lines) {
    return this.#inTurn(async () => {
      const size = sum(sizesOf(lines));
      if (this.bytes + size > this.#limit) return false;
      const name = `${String(this.#next).padStart(12, '0')}-${this.#mark}.jsonl`;
      this.#next++;
      await this.#write(name, lines);
      this.#add(name, lines);
      return true;
    });
  }

  head(most, bytes) {
    return this.#inTurn(async () => {
      for (;;) {
        const count = fitting(this.#holding(most).flatMap((file) => file.sizes), most, bytes);
        const lines = await this.#linesOf(this.#holding(count));
        if (lines !== null) return lines.slice(0, count);
      }
    });
  }

  remove(count, again) {
    return this.#inTurn(async () => {
      const touched = this.#holding(count);
      const all = await this.#linesOf(touched);
      if (all === null) return; // what is still there is sent twice
      const left = all.filter((line, index) => index >= count || again.includes(line));
      if (left.length > 0) await this.#write(touched[0].name, left);
      const emptied = left.length > 0 ? touched.slice(1) : touched;
      for (const { name } of emptied) await rm(join(this.#folder, name), { force: true });
      this.#files.splice(0, touched.length);
      if (left.length > 0) this.#files.unshift({ name: touched[0].name, sizes: sizesOf(left) });
      this.#shrink(touched.flatMap((file) => file.sizes));
      this.#grow(sizesOf(left));
    });
  }

  /** The lines of files; null if one is not there any more, which is forgotten then: another process has sent it. */
  async #linesOf(files) {
    const lines = [];
    for (const file of files) {
      try {
        lines.push(...await this.#lines(file.name));
      } catch (error) {
        if (error.code !== 'ENOENT') throw error;
        this.#files.splice(this.#files.indexOf(file), 1);
        this.#shrink(file.sizes);
        return null;
      }
    }
    return lines;
  }

  /** The files that have the oldest so many lines. */
  #holding(count) {
    let lines = 0;
    let files = 0;
    for (; files < this.#files.length && lines < count; files++) lines += this.#files[files].sizes.length;
    return this.#files.slice(0, files);
  }

  /** The lines of a file. What the disk has damaged is left out: it could never be sent. */
  async #lines(name) {
    const text = await readFile(join(this.#folder, name), 'utf8');
    return text.split('\n').filter(isRequest);
  }

  #write(name, lines) {
    return replace(this.#folder, name, `${lines.join('\n')}\n`);
  }

  #add(name, lines) {
    const sizes = sizesOf(lines);
    this.#files.push({ name, sizes });
    this.#next = Math.max(this.#next, Number.parseInt(name, 10) + 1);
    this.#grow(sizes);
  }

  #grow(sizes) {
    this.requests += sizes.length;
    this.bytes += sum(sizes);
  }

  #shrink(sizes) {
    this.requests -= sizes.length;
    this.bytes -= sum(sizes);
  }

  /**
   * Runs the work after the work before it, whatever became of that.
   * @template T
   * @param {() => Promise<T>} work
   * @returns {Promise<T>}
   */
  #inTurn(work) {
    const done = this.#turn.then(work);
    this.#turn = done.then(() => undefined, () => undefined);
    return done;
  }
}

/** Whether a line is a request as POST /relay has it. */
function isRequest(line) {
  try {
    const { path, body } = JSON.parse(line);
    return typeof path === 'string' && typeof body === 'string';
  } catch {
    return false;
  }
}

const sizesOf = (lines) => lines.map((line) => sizeOf(line) + OVERHEAD);

const sum = (sizes) => sizes.reduce((total, size) => total + size, 0);

/**
 * Keeps the last good snapshots in a folder, which is made if it is not there.
 * @param {string} folder
 * @param {import('./edge.mjs').Log} log told of what cannot be kept
 * @returns {Promise<import('./snapshots.mjs').Keep>}
 * @throws {Error} when the folder cannot be used
 */
export async function inFolder(folder, log) {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const name = (app) => `${encodeURIComponent(app)}.sealed`;
  const attempt = async (doing, app, work) => {
    try {
      return await work();
    } catch (error) {
      if (error.code !== 'ENOENT') log.warn(`${doing} a snapshot: ${error.message}`, { app });
      return null;
    }
  };
  let last = Promise.resolve();
  const inTurn = (work) => {
    last = last.then(work, work);
    return last;
  };
  return {
    get: (app) => attempt('finding', app, () => readFile(join(folder, name(app)))),
    put: (app, sealed) => inTurn(() => attempt('keeping', app, () => replace(folder, name(app), sealed))),
    forget: (app) => inTurn(() => attempt('forgetting', app, () => rm(join(folder, name(app)), { force: true }))),
  };
}

