/** Bodies from outside: read once, whole, and never more of them than the reader is ready for. */

/**
 * What is read: a Request, a Response, or what looks like one.
 * @typedef {object} Readable
 * @property {{get(name: string): string | null}} headers
 * @property {AsyncIterable<Uint8Array> | null} body
 * @property {() => Promise<ArrayBuffer | Uint8Array>} arrayBuffer
 */

/** A body did not arrive whole. */
export class BrokenBody extends Error {
  /** @param {Error} cause */
  constructor(cause) {
    super(`the body broke off: ${cause.message}`, { cause });
    this.name = 'BrokenBody';
  }
}

/**
 * Reads a body. One that says that it is longer than the limit is not touched.
 * @param {Readable} from
 * @param {number} limit bytes
 * @returns {Promise<Uint8Array | null>} null when it is longer than the limit
 * @throws {BrokenBody}
 */
export async function readBody(from, limit) {
  const announced = from.headers.get('content-length');
  if (announced !== null && !(Number(announced) <= limit)) return null;
  try {
    if (announced === null) return await readUnannounced(from.body, limit);
    const whole = await from.arrayBuffer(); // not longer than announced: HTTP ends it there
    return whole instanceof Uint8Array ? whole : new Uint8Array(whole);
  } catch (error) {
    throw new BrokenBody(error);
  }
}

/** Reads a body of unknown length piece by piece. */
async function readUnannounced(body, limit) {
  const pieces = [];
  let size = 0;
  if (body !== null) {
    for await (const piece of body) {
      size += piece.length;
      if (size > limit) return null;
      pieces.push(piece);
    }
  }
  if (pieces.length === 1) return pieces[0];
  const whole = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
