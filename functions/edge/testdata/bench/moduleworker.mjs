/**
 * The Worker around the module. The host's own class calls it. Of devices whose record is known the host never asks,
 * so that is here.
 */
import module from './edge.wasm';
import { imports } from './imports.mjs';
import { Resolver } from './module.mjs';
import { compared, JSON_HEADERS } from './shell.mjs';

const ROOM = 64 << 10; // bytes

const seconds = () => Math.floor(Date.now() / 1000);

/** Calls the module with facts. */
class Knowing {
  #exports;
  #octets;
  #view;
  #room;
  #facts = new TextEncoder().encode('{}');

  constructor(apps, key) {
    this.#exports = new WebAssembly.Instance(module, imports(() => this.#exports.memory)).exports;
    this.#exports._initialize();
    this.#write(key);
    this.#exports.trust(key.length);
    for (const { id, sealed } of apps) {
      this.#write(id, sealed);
      if (this.#exports.load(id.length, sealed.length, seconds(), 0) !== 0) throw new Error('the snapshot is refused');
    }
    this.#room = this.#exports.buffer(ROOM);
    this.#renew();
  }

  #write(...parts) {
    let at = this.#exports.buffer(parts.reduce((sum, part) => sum + part.length, 0));
    this.#renew();
    for (const part of parts) {
      this.#octets.set(part, at);
      at += part.length;
    }
  }

  #renew() {
    this.#octets = new Uint8Array(this.#exports.memory.buffer);
    this.#view = new DataView(this.#exports.memory.buffer);
  }

  check(body) {
    if (this.#octets.buffer !== this.#exports.memory.buffer) this.#renew();
    this.#octets.set(body, this.#room);
    this.#octets.set(this.#facts, this.#room + body.length);
    const at = this.#exports.check(body.length, this.#facts.length, seconds());
    if (this.#octets.buffer !== this.#exports.memory.buffer) this.#renew();
    const answer = this.#view.getUint32(at + 8, true);
    return {
      status: this.#view.getUint32(at + 4, true),
      answer: this.#octets.slice(answer, answer + this.#view.getUint32(at + 12, true)),
    };
  }
}

export default compared(async ({ SPECS, SEALED, KEY }) => {
  const encoder = new TextEncoder();
  const apps = SPECS.map(({ app }, index) => ({ app, id: encoder.encode(app), sealed: encoder.encode(SEALED[index]) }));
  const resolver = new Resolver(module, [new Uint8Array(KEY)], imports);
  for (const { app, sealed } of apps) {
    if (resolver.load(app, sealed, seconds(), 0) !== 0) throw new Error('the snapshot is refused');
  }
  const knowing = new Knowing(apps, new Uint8Array(KEY));
  const decided = (check, known) => (known ? knowing.check(check) : resolver.check(check, seconds()));
  return {
    async answer(request, known) {
      const { status, answer } = decided(new Uint8Array(await request.arrayBuffer()), known);
      return new Response(answer, { status, headers: JSON_HEADERS });
    },
    decide: (check, known) => decided(typeof check === 'string' ? encoder.encode(check) : check, known).answer.length,
    forget: () => resolver.renote(),
    instantiate: () => new Resolver(module, [new Uint8Array(KEY)], imports),
  };
});
