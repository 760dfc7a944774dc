/**
 * The part of WASI preview 1 that a module of standard Go asks for: enough for a reactor that has no files, no
 * arguments and nothing to wait for. Only tests need it: the module that ships to edges asks for nothing.
 */

const SUCCESS = 0;
const BAD_DESCRIPTOR = 8;
const STDERR = 2;

/**
 * Makes the imports of one instance.
 * @type {import('../host/module.mjs').Imports}
 */
export function wasi(memory) {
  const view = () => new DataView(memory().buffer);
  const none = (count, size) => {
    view().setUint32(count, 0, true);
    view().setUint32(size, 0, true);
    return SUCCESS;
  };
  const calls = {
    args_get: () => SUCCESS,
    args_sizes_get: none,
    environ_get: () => SUCCESS,
    environ_sizes_get: none,
    clock_time_get(clock, precision, at) {
      view().setBigUint64(at, BigInt(Date.now()) * 1_000_000n, true);
      return SUCCESS;
    },
    random_get(at, size) {
      const octets = new Uint8Array(memory().buffer, at, size);
      for (let from = 0; from < size; from += 65_536) crypto.getRandomValues(octets.subarray(from, from + 65_536));
      return SUCCESS;
    },
    fd_write(descriptor, vectors, count, written) {
      let sum = 0;
      for (let i = 0; i < count; i++) {
        const at = view().getUint32(vectors + 8 * i, true);
        const size = view().getUint32(vectors + 8 * i + 4, true);
        if (descriptor === STDERR) console.error(new TextDecoder().decode(new Uint8Array(memory().buffer, at, size)));
        sum += size;
      }
      view().setUint32(written, sum, true);
      return SUCCESS;
    },
    proc_exit(code) {
      throw new Error(`the module exits with ${code}`);
    },
    sched_yield: () => SUCCESS,
    poll_oneoff: () => SUCCESS,
  };
  return { wasi_snapshot_preview1: new Proxy(calls, { get: (known, name) => known[name] ?? (() => BAD_DESCRIPTOR) }) };
}
