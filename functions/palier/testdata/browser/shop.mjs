/**
 * What the scenarios share: a Chromium, pages of the shop in it, and what of them rests on the server's stream. The Go test
 * that starts the scenarios serves the shop, and says in the environment where everything is.
 */

import { createRequire } from 'node:module';
import { randomUUID } from 'node:crypto';
import { after, test } from 'node:test';

const { PALIER, SHOP, NOBODY, CHROMIUM, TOOLS } = process.env;
const { chromium } = createRequire(`${TOOLS}/`)('playwright-core');

export { PALIER, SHOP, NOBODY };

/** How long something that takes moments may take on a machine with much else to do, in milliseconds. */
const PATIENCE = 15_000;

/** Longer than any scenario: who waits for this sends nothing by itself. */
export const NEVER = 3_600_000;

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync',
  ],
});
after(() => browser.close());

/** A test that fails when it hangs. */
export const scenario = (what, run) => test(what, { timeout: 4 * PATIENCE }, run);

/** Waits until done returns something, and returns that. */
export async function eventually(what, done) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const found = await done();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`still not: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A device with the shop on it, in a browser profile of its own. */
export class Device {
  id = randomUUID();
  /** Bodies that were sent to the server, by their addresses. */
  sent = [];
  /** What the page said on the console, but for errors of the network, which the browser says. */
  said = [];

  /**
   * @param {import('node:test').TestContext} t closes the page at its end
   * @param {object} [options] of start
   * @param {object} [capacitor] what the native side is like
   */
  static async on(t, options = {}, capacitor = {}) {
    const device = new Device();
    device.id = capacitor.deviceId ?? device.id;
    device.context = await browser.newContext();
    t.after(() => device.context.close());
    device.page = await device.context.newPage();
    device.page.on('request', (request) => {
      if (request.url().startsWith(PALIER) && request.method() === 'POST') device.sent.push(request.postData());
    });
    device.page.on('console', (message) => {
      if (!message.text().startsWith('Failed to load resource')) device.said.push(message.text());
    });
    await device.#prepare({ app: 'com.example.shop', every: 30, ...options }, { version: '1.0.0', native: false, ...capacitor });
    return device;
  }

  /** Gives every page what Capacitor gives it on a phone. */
  #prepare(options, capacitor) {
    return this.context.addInitScript(([id, options, { version, native }]) => {
      const plugin = {
        getDeviceId: async () => ({ deviceId: id }),
        current: async () => ({ bundle: { id: 'x', version }, native: '1.0' }),
        getPluginVersion: async () => ({ version: '8.45.11' }),
      };
      window.options = options;
      window.Capacitor = { getPlatform: () => 'ios', isNativePlatform: () => native, Plugins: { CapacitorUpdater: plugin } };
    }, [this.id, options, capacitor]);
  }

  /** Opens the shop and waits until the client runs. */
  async open(path = '/') {
    await this.page.goto(SHOP + path);
    await this.started();
  }

  started() {
    return this.page.waitForFunction(() => window.palier);
  }

  /** Runs a function in the page. */
  run(call, argument) {
    return this.page.evaluate(call, argument);
  }

  /** What of this device rests on the server's stream, oldest first: {type, name, message, value, version, …}. */
  async arrived() {
    const response = await fetch(`${SHOP}/harness/arrived?device=${this.id}`);
    return response.json();
  }

  /** Waits until an event of the type, and the name if there is one, has arrived, and returns it. */
  event(type, name) {
    return eventually(`${type} ${name ?? ''} of ${this.id} arrived`, async () =>
      (await this.arrived()).find((event) => event.type === type && (name === undefined || event.name === name)));
  }

  /** How many events wait in localStorage. */
  waiting() {
    return this.run(() => {
      const saved = JSON.parse(localStorage.getItem(`palier:${window.options.app}`));
      return saved ? saved.batches.flatMap((batch) => batch.events).length : 0;
    });
  }

  /** Puts the app into the background, or to the front again. */
  hide(hidden) {
    return this.run((hidden) => {
      Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
      document.dispatchEvent(new Event('visibilitychange'));
    }, hidden);
  }
}
