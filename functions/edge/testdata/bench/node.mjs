/**
 * The module in Node: `node node.mjs WASM GIVEN CALLS`, with its imports beside it. GIVEN is a JSON file of apps with
 * their sealed snapshots, a public key and checks. It prints one line of JSON: the milliseconds of compilation, of
 * instantiation (with initialization and the key), of taking the first snapshot, which verifies and compiles it, and
 * of the first check; then, after so many calls, the microseconds of one, and the bytes of the module's memory before
 * and after.
 *
 * The calls are as hostile to memory as devices can be: each is of another device, which is noted, and every tenth is
 * refused. Now and then the instance is offered its snapshots again.
 */
import { readFile } from 'node:fs/promises';
import { imports } from './imports.mjs';
import { Outcome, Resolver } from './module.mjs';

const HEX = new TextEncoder().encode('0123456789abcdef');
const REFUSED_EVERY = 10;
const OFFERED_EVERY = 100_000;
const WARM = 200_000;

const [file, givenFile, calls] = process.argv.slice(2);
const { apps, key, checks } = JSON.parse(await readFile(givenFile, 'utf8'));
const encoder = new TextEncoder();
const bodies = checks.map((check) => ({
  good: encoder.encode(check), bad: encoder.encode(check.replace('"android"', '"windows"')),
}));
const sealed = apps.map(({ app, sealed: text }) => ({ app, bytes: encoder.encode(text) }));
const binary = await readFile(file);
const now = Math.floor(Date.now() / 1000);
const keyBytes = Uint8Array.from(Buffer.from(key, 'base64'));

const timed = (work) => {
  const began = performance.now();
  const made = work();
  return [performance.now() - began, made];
};

let memory; // of the last instance
const watched = (of) => {
  memory = of;
  return imports(of);
};

const [compile, module] = timed(() => new WebAssembly.Module(binary));
const [instantiate, resolver] = timed(() => new Resolver(module, [keyBytes], watched));
const [load, outcome] = timed(() => resolver.load(sealed[0].app, sealed[0].bytes, now, 0));
const [first] = timed(() => resolver.check(bodies[0].good, now));
if (outcome !== Outcome.LOADED) throw new Error(`the snapshot is refused: ${outcome}`);
for (const { app, bytes } of sealed.slice(1)) resolver.load(app, bytes, now, 0);

/** Writes another device's id over that of a body. */
const at = bodies[0].good.indexOf(58, 24) + 2; // after "device_id":"
function another(body, device) {
  for (let digit = 0; digit < 8; digit++) body[at + digit] = HEX[(device >>> (4 * digit)) & 15];
}

function run(from, to) {
  for (let call = from; call < to; call++) {
    const { good, bad } = bodies[call % bodies.length];
    if (call % REFUSED_EVERY === 0) {
      if (resolver.check(bad, now).status !== 400) throw new Error('a wrong platform is not refused');
      continue;
    }
    another(good, Math.imul(call, 0x9e3779b1));
    if (resolver.check(good, now).status !== 200) throw new Error('a check is refused');
    if (call % OFFERED_EVERY === 1) for (const { app, bytes } of sealed) resolver.load(app, bytes, now, 0);
  }
}

const total = Number(calls);
const result = { compile, instantiate, load, first };
if (total > 0) {
  run(0, WARM);
  result.before = memory().buffer.byteLength;
  const [took] = timed(() => run(WARM, WARM + total));
  result.after = memory().buffer.byteLength;
  result.call = took * 1000 / total;
}
console.log(JSON.stringify(result));
