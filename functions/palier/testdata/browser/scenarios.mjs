/** The browser client in Chromium, against a server: what it measures, how that arrives, and that the app notices nothing. */

import assert from 'node:assert/strict';
import { Device, NEVER, NOBODY, PALIER, SHOP, eventually, scenario } from './shop.mjs';

const types = (events) => events.map(({ type }) => type);

scenario('what an app does arrives, and nothing personal with it', async (t) => {
  const device = await Device.on(t, {}, { version: '1.1.0', deviceId: process.env.CANDIDATE });
  const preflights = [];
  const protocol = await device.context.newCDPSession(device.page);
  await protocol.send('Network.enable');
  protocol.on('Network.requestWillBeSent', ({ type, request }) => type === 'Preflight' && preflights.push(request.url));

  await device.open('/items/4711?token=secret#fragment');
  const load = await device.event('load_time', '/items/:id');
  assert.equal(load.version, '1.1.0');
  assert.equal(load.platform, 'ios');
  assert.ok(load.value > 0 && Math.abs(load.at - Date.now()) < 60_000, JSON.stringify(load));

  await device.run(() => history.pushState({}, '', '/cart?user=jane'));
  assert.ok((await device.event('load_time', '/cart')).value >= 0);
  await device.run(() => new Promise((resolve) => {
    history.replaceState({}, '', '/cart?user=jim'); // the same route
    requestAnimationFrame(() => requestAnimationFrame(() => requestIdleCallback(() => setTimeout(resolve))));
  }));
  await device.run(() => (location.hash = '#/orders/99/lines?tab=secret'));
  await device.event('load_time', '/cart#/orders/:id/lines');
  await device.run(() => history.replaceState({}, '', '/done'));
  await device.event('load_time', '/done');
  await device.run(() => history.go(-2));
  await device.event('load_time', '/items/:id');

  await device.run(() => fetch('/api/v2/people/jane@example.com?token=secret'));
  await device.event('api_time', '/api/v2/people/:id');
  await device.run(() => new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.onload = resolve;
    request.open('POST', new URL('/api/orders?token=secret', location.href));
    request.send('secret');
  }));
  await device.event('api_time', '/api/orders');

  await device.run(() => {
    const fail = () => { throw new Error('no jane@example.com at https://example.com/?token=secret today'); };
    setTimeout(fail);
    setTimeout(fail);
    Promise.reject(new TypeError('no cart'));
  });
  await eventually('both errors arrived', async () => types(await device.arrived()).filter((type) => type === 'js_error').length === 2);
  const messages = (await device.arrived()).flatMap(({ message }) => message ?? []).sort();
  assert.deepEqual(messages, ['TypeError: no cart', 'Uncaught Error: no <address> at <url> today']);

  await device.run(() => {
    palier.track('checkout');
    palier.track('checkout');
  });
  assert.equal(await device.run(() => palier.feedback({ score: 2, message: 'slow' })), true);
  assert.equal(await device.run(() => palier.consent('1.1.0', true)), true);
  const [feedback, consent] = [await device.event('feedback'), await device.event('consent')];
  assert.deepEqual([feedback.value, feedback.message, consent.version, consent.granted], [2, 'slow', '1.1.0', 'true']);

  await device.page.goto('about:blank');
  assert.ok((await device.event('session_length')).value > 0);
  const all = await device.arrived();
  assert.equal(new Set(all.filter(({ name }) => name === '/cart').map(({ at }) => at)).size, 1);
  assert.equal(new Set(all.filter(({ name }) => name === 'checkout').map(({ at }) => at)).size, 1);
  assert.doesNotMatch(JSON.stringify(all), /secret|jane|jim|4711|127\.0\.0\.1/);
  assert.doesNotMatch(JSON.stringify(device.sent), /secret|jane|jim|4711|127\.0\.0\.1/);
  assert.deepEqual(preflights.filter((url) => url.startsWith(PALIER)), []);
});

scenario('what is wrapped answers as before', async (t) => {
  const device = await Device.on(t, { every: NEVER });
  await device.open();
  const seen = await device.run(async () => {
    const seen = {};
    const abort = new AbortController();
    const held = fetch('/api/held', { signal: abort.signal }).catch((error) => error.name);
    abort.abort();
    seen.aborted = await held;
    seen.refused = await fetch('http://127.0.0.1:1/').catch((error) => error instanceof TypeError);
    seen.malformed = await fetch('http://[').catch((error) => error instanceof TypeError);
    const posted = await fetch(new Request('/api/echo', { method: 'POST', body: 'from a request' }));
    seen.echo = [posted.status, posted.url.endsWith('/api/echo'), await posted.text()];
    seen.missing = (await fetch('/api/missing')).status;

    const request = new XMLHttpRequest();
    const happened = [];
    for (const type of ['load', 'error', 'abort', 'loadend']) request.addEventListener(type, () => happened.push(type));
    const ended = () => new Promise((resolve) => request.addEventListener('loadend', resolve, { once: true }));
    request.open('POST', '/api/echo');
    request.send('from an old request');
    await ended();
    seen.old = [request.status, request.responseText];
    request.open('GET', '/api/held'); // the same object once more
    request.send();
    request.abort();
    seen.happened = happened;
    try {
      request.open();
    } catch (error) {
      seen.wrong = error instanceof TypeError;
    }
    seen.state = history.pushState({ page: 2 }, '', '?page=2') === undefined && history.state.page;
    try {
      history.pushState({}, '', 'https://elsewhere.example.com/');
    } catch (error) {
      seen.elsewhere = error.name;
    }
    return seen;
  });
  assert.deepEqual(seen, {
    aborted: 'AbortError', refused: true, malformed: true, echo: [200, true, 'from a request'], missing: 404,
    old: [200, 'from an old request'], happened: ['load', 'loadend', 'abort', 'loadend'], wrong: true,
    state: 2, elsewhere: 'SecurityError',
  });
  await device.run(() => fetch(`${server}/healthz`, { mode: 'no-cors' }));
  await device.run(() => palier.flush());
  // What failed has no time, and what goes to Palier is none of the app's.
  const calls = (await device.arrived()).filter(({ type }) => type === 'api_time').map(({ name }) => name);
  assert.deepEqual(calls.sort(), ['/api/echo', '/api/echo', '/api/missing']);
});

scenario('a failed call that nobody handles is one rejection, and a handled one none', async (t) => {
  const device = await Device.on(t, { every: NEVER });
  await device.open();
  const unhandled = await device.run(async () => {
    let count = 0;
    const heard = new Promise((resolve) => addEventListener('unhandledrejection', () => resolve(++count)));
    await fetch('http://127.0.0.1:1/handled').catch(() => {});
    fetch('http://127.0.0.1:1/unhandled');
    await heard;
    await fetch('/api/echo'); // takes longer than what else would be heard
    return count;
  });
  assert.equal(unhandled, 1);
  await device.run(() => palier.flush());
  assert.deepEqual((await device.arrived()).filter(({ type }) => type === 'js_error').map(({ message }) => message), ['TypeError: Failed to fetch']);
});

scenario('stop takes everything back, but not what others wrapped since', async (t) => {
  const device = await Device.on(t, { every: NEVER });
  await device.open();
  const back = await device.run(async () => {
    const methods = () => [window.fetch, History.prototype.pushState, History.prototype.replaceState, XMLHttpRequest.prototype.open, XMLHttpRequest.prototype.send];
    const native = () => methods().map((method) => /native code/.test(method));
    const whileItRuns = native();
    palier.stop();
    const after = [native(), window.fetch === fetchBefore];
    window.palier = start(options);
    const ours = window.fetch;
    const theirs = (window.fetch = (...given) => ours(...given));
    palier.stop();
    return { whileItRuns, after, theirs: window.fetch === theirs, works: (await fetch('/api/echo')).status };
  });
  const five = (value) => Array(5).fill(value);
  assert.deepEqual(back, { whileItRuns: five(false), after: [five(true), true], theirs: true, works: 200 });
  const before = device.sent.length;
  assert.equal(await device.run(() => {
    palier.track('after the end');
    return palier.flush();
  }), false);
  assert.equal(device.sent.length, before);
});

scenario('what cannot be sent waits, outlives a reload and an update, and arrives', async (t) => {
  const device = await Device.on(t, { url: NOBODY });
  await device.open();
  assert.equal(await device.run(() => palier.feedback({ score: 5 })), false);
  const waiting = await device.waiting();
  assert.ok(waiting >= 1);
  await device.context.addInitScript(() => {
    Capacitor.Plugins.CapacitorUpdater.current = async () => ({ bundle: { version: '1.1.0' }, native: '1.0' });
  });
  await device.page.reload();
  await device.started();
  await eventually('the new bundle measures', async () => (await device.waiting()) > waiting);
  await device.context.addInitScript(() => delete window.options.url);
  await device.page.reload();
  await device.started();
  assert.equal((await device.event('feedback')).version, '1.0.0');
  await eventually('nothing waits', async () => (await device.waiting()) === 0);
  const versions = new Set((await device.arrived()).map(({ version }) => version));
  assert.deepEqual(versions, new Set(['1.0.0', '1.1.0']));
});

scenario('what happens while something is on its way is not forgotten', async (t) => {
  const device = await Device.on(t, { every: 1 });
  await device.open();
  await device.event('load_time');
  let letGo;
  const held = new Promise((resolve) => (letGo = resolve));
  const begun = new Promise((resolve) => {
    device.context.route(`${PALIER}/telemetry`, async (route) => {
      resolve();
      await held;
      await route.continue();
    });
  });
  await device.run(() => palier.track('first'));
  await begun;
  await device.run(async () => {
    palier.track('second');
    await new Promise((resolve) => setTimeout(resolve, 10)); // its time to be sent comes and goes
  });
  letGo();
  await device.event('feature_use', 'second');
  await eventually('nothing waits', async () => (await device.waiting()) === 0);
  await device.run(() => palier.track('third'));
  await device.event('feature_use', 'third');
});

scenario('a device that is online again does not wait', async (t) => {
  const device = await Device.on(t, { every: NEVER });
  await device.open();
  await device.context.setOffline(true);
  assert.equal(await device.run(() => palier.feedback({ negative: true })), false);
  await device.context.setOffline(false);
  assert.equal((await device.event('feedback')).negative, 'true');
});

scenario('what is not sent yet leaves with the page', async (t) => {
  const device = await Device.on(t, { every: NEVER });
  await device.open();
  await device.run(() => palier.track('search'));
  await device.page.goto('about:blank');
  await device.event('feature_use', 'search');
  await device.event('session_length');
});

scenario('a session lasts while the app is in front', async (t) => {
  const device = await Device.on(t, { every: NEVER });
  await device.open();
  await device.run(() => palier.track('search'));
  await device.hide(true);
  await device.event('session_length');
  await device.hide(true); // says nothing new
  await device.hide(false);
  await device.run(() => palier.track('search')); // a new session
  await device.hide(true);
  const all = await eventually('two sessions arrived', async () => {
    const all = await device.arrived();
    return new Set(all.filter(({ type }) => type === 'session_length').map(({ at }) => at)).size === 2 && all;
  });
  const searches = all.filter(({ name }) => name === 'search');
  assert.equal(new Set(searches.map(({ at }) => at)).size, 2);
  await device.run(() => palier.flush()); // nobody said that the beacons arrived
  assert.equal(await device.waiting(), 0);
});

scenario('a server that asks for patience gets it, over a reload too', async (t) => {
  const device = await Device.on(t, { app: 'com.example.later' });
  await device.context.clock.install();
  await device.open();
  assert.equal(await device.run(() => palier.feedback({ score: 4 })), false);
  assert.equal(device.sent.length, 1);
  await device.run(() => palier.flush());
  await device.context.clock.runFor(250_000);
  await device.page.reload();
  await device.started();
  await eventually('the reloaded page measures', async () => (await device.waiting()) > 1);
  await device.run(() => palier.flush());
  await device.hide(true);
  await device.hide(false);
  assert.equal(device.sent.length, 1);

  await fetch(`${SHOP}/harness/create?app=com.example.later`, { method: 'POST' });
  await device.context.clock.runFor(60_000); // 300 seconds in all, which is what the server asked for
  assert.equal((await device.event('feedback')).value, 4);
});

scenario('what the server refuses for good is dropped', async (t) => {
  const device = await Device.on(t, { every: NEVER, device: { model: 'unheard of' } });
  await device.open();
  assert.equal(await device.run(() => palier.feedback({ score: 4 })), true);
  assert.equal(await device.waiting(), 0);
  assert.deepEqual(await device.arrived(), []);
});

scenario('much waits in bounds, and arrives in order', async (t) => {
  const device = await Device.on(t, { every: NEVER });
  await device.open();
  await device.context.setOffline(true);
  await device.run(() => {
    let told;
    for (let i = 0; i < 600; i++) told = palier.feedback({ score: 5, message: String(i).padEnd(1500, '\u0001') });
    return told;
  });
  assert.equal(await device.waiting(), 500);
  await device.context.setOffline(false);
  await eventually('nothing waits', async () => (await device.waiting()) === 0);
  const words = (await device.arrived()).filter(({ type }) => type === 'feedback').map(({ message }) => message);
  assert.equal(words.length, 500);
  assert.equal(words[499].length, 1000);
  const numbers = words.map((text) => parseInt(text, 10));
  assert.deepEqual(numbers, Array.from({ length: 500 }, (_, i) => i + 100));
});

scenario('at most so many timings a minute', async (t) => {
  const device = await Device.on(t, { every: NEVER, perMinute: 3 });
  await device.open();
  await device.run(async () => {
    for (let i = 0; i < 10; i++) await fetch('/api/echo');
  });
  await device.run(() => palier.flush());
  const timings = types(await device.arrived()).filter((type) => type.endsWith('_time'));
  assert.equal(timings.length, 3);
});

scenario('names can be chosen, and left out', async (t) => {
  const device = await Device.on(t, { every: NEVER });
  await device.open();
  await device.run(async () => {
    const name = (path) => (path.endsWith('/health') ? null : path.toUpperCase());
    window.palier = start({ ...options, name });
    await fetch('/api/health');
    await fetch('/api/echo/1');
    await palier.flush();
    window.palier = start({ ...options, name: () => { throw new Error('of the app'); } });
    await fetch('/api/nameless');
    await palier.flush();
  });
  const calls = (await device.arrived()).filter(({ type }) => type === 'api_time').map(({ name }) => name);
  assert.deepEqual(calls, ['/API/ECHO/1']);
});

scenario('files of a native app are no calls', async (t) => {
  const device = await Device.on(t, { every: NEVER }, { native: true });
  await device.open();
  await device.run(async () => {
    await fetch('/api/echo');
    await fetch('data:text/plain,x');
    await palier.flush();
  });
  assert.ok(!types(await device.arrived()).includes('api_time'));
});

scenario('what keeps the client from working is said once, and the app goes on', async (t) => {
  const device = await Device.on(t, { app: undefined });
  await device.open();
  const tries = await device.run(async () => {
    const { CapacitorUpdater: updater } = Capacitor.Plugins;
    const tries = [palier];
    const app = 'com.example.shop';
    tries.push(start({ app, url: 'capacitor://localhost' }), start({ app, url: 5 }), start({ app, deviceId: 'default' }));
    await palier.flush();
    tries.push(start({ app, updater: { ...updater, getDeviceId: () => Promise.reject(new Error('none')) } }), start(null), start());
    const answers = [];
    for (const palier of tries) {
      palier.track('checkout');
      answers.push(await palier.feedback(), await palier.consent('1.1.0', true), await palier.flush());
      palier.stop();
    }
    return { answers, works: (await fetch('/api/echo')).status };
  });
  assert.deepEqual(tries, { answers: Array(21).fill(false), works: 200 });
  assert.equal(device.said.length, 7, device.said.join());
  for (const words of device.said) assert.match(words, /^palier does not measure: /);
  assert.equal(device.sent.length, 0);
});

scenario('nothing that the app hands over throws', async (t) => {
  const device = await Device.on(t, { every: NEVER });
  await device.open();
  const dead = await device.run(async () => {
    Object.defineProperty(window, 'localStorage', { get() { throw new Error('denied'); } });
    window.palier = start(options);
    const odd = Object.create(null);
    palier.track(odd);
    palier.track();
    await palier.feedback(null);
    await palier.consent(odd, odd);
    window.dispatchEvent(new PromiseRejectionEvent('unhandledrejection', { promise: Promise.resolve(), reason: odd }));
    palier.track('still there');
    await palier.flush();
    return false;
  });
  assert.equal(dead, false);
  await device.event('feature_use', 'still there');
});
