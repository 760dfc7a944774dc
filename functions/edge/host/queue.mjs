/**
 * Telemetry that waits in memory for an origin that cannot be reached. It is gone with the process, so nobody is told
 * that it is safe.
 */

/**
 * What waits for the origin, oldest first: lines, each the JSON of one request as POST /relay has it.
 * @typedef {object} Backlog
 * @property {boolean} durable whether what was appended survives the process, so that the device may forget it
 * @property {number} requests how many lines wait
 * @property {number} bytes their size
 * @property {(lines: string[]) => Promise<boolean>} append false when there is no room: then none of them was taken
 * @property {(most: number, bytes: number) => Promise<string[]>} head the oldest lines: at least one if there is any,
 *   otherwise at most so many, of so many bytes together
 * @property {(count: number, again: string[]) => Promise<void>} remove so many of the oldest lines, as head returned
 *   them, but keep those of them that are to be sent again
 */

const encoder = new TextEncoder();

/**
 * The size of a text in UTF-8.
 * @param {string} text
 * @returns {number} bytes
 */
export const sizeOf = (text) => encoder.encode(text).length;

/**
 * Returns how many of the items fit together, at least one if there is any.
 * @param {number[]} sizes bytes
 * @param {number} most items
 * @param {number} bytes together
 * @returns {number}
 */
export function fitting(sizes, most, bytes) {
  let sum = 0;
  let count = 0;
  for (; count < Math.min(most, sizes.length); count++) {
    sum += sizes[count];
    if (count > 0 && sum > bytes) break;
  }
  return count;
}

/**
 * A backlog in memory.
 * @implements {Backlog}
 */
export class Queue {
  #limit;
  /** @type {{line: string, size: number}[]} */
  #items = [];

  durable = false;
  bytes = 0;

  /** @param {number} limit bytes that may wait */
  constructor(limit) {
    this.#limit = limit;
  }

  get requests() {
    return this.#items.length;
  }

  async append(lines) {
    const items = lines.map((line) => ({ line, size: sizeOf(line) }));
    const size = items.reduce((sum, item) => sum + item.size, 0);
    if (this.bytes + size > this.#limit) return false;
    this.#items.push(...items);
    this.bytes += size;
    return true;
  }

  async head(most, bytes) {
    const count = fitting(this.#items.slice(0, most).map((item) => item.size), most, bytes);
    return this.#items.slice(0, count).map((item) => item.line);
  }

  async remove(count, again) {
    const gone = this.#items.splice(0, count);
    const kept = gone.filter((item) => again.includes(item.line));
    this.#items.unshift(...kept);
    this.bytes -= gone.reduce((sum, item) => sum + item.size, 0) - kept.reduce((sum, item) => sum + item.size, 0);
  }
}
