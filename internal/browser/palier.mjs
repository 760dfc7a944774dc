/*! Palier's client for app metrics, Apache-2.0 */

/**
 * Palier's client for app metrics: what a page in a Capacitor app tells the server about itself, so that a release is
 * judged by what its users meet. One file, no dependencies; README.md beside it says how an app adds it.
 *
 * Three rules hold everywhere. Nothing in here may break the app: what is wrapped answers as before, and an error of
 * this module never leaves it. Nothing personal leaves the device: of an address only the path, without what looks like
 * an id; of an error only its message, without addresses. Nothing is lost without need: an event is in localStorage
 * until the server has said that it is safe. An event may therefore arrive twice, which does no harm, since the server
 * counts each device once.
 *
 * From the bottom up: hooks into the page that can be taken back, the outbox, what is watched, and start.
 */

/** A batch goes out after so long, in milliseconds, or as soon as it has so many events. */
const EVERY = 10_000;
const FULL = 50;

/** One request carries at most so many events: with the longest texts, two thirds of what the server takes (1 MiB). */
const AT_ONCE = 100;

/** So many events wait for a server that cannot be reached; then the oldest go. */
const WAITING = 500;

/** Characters of a name, as the server takes them, of an error's message, and of what a user writes. */
const NAME = 128;
const MESSAGE = 300;
const WORDS = 1000;

/** Different errors and features that are told of in one session. */
const DIFFERENT = 100;

/** Timings per minute, if the app does not say otherwise. */
const PER_MINUTE = 60;

/** A request without an answer is given up after so long, and attempts are never further apart, in milliseconds. */
const PATIENCE = 30_000;
const LONGEST = 600_000;

/** The longest Retry-After that is believed, in milliseconds. */
const HOUR = 3_600_000;

/** The function without its errors: instead of throwing it returns undefined. */
const safe = (call) => (...given) => {
  try {
    return call(...given);
  } catch {}
};

const clip = safe((text, most) => String(text).slice(0, most));

/** The path without what looks like an id: segments with digits, @ or escapes, and long ones. Versions like v1 stay. */
const withoutIds = (path) => path.replace(/\/(?!v\d+(\/|$))([^/]*[\d@%][^/]*|[^/]{25,})/g, '/:id');

// ---------------------------------------------------------------------------------------------------------------- hooks

/** Ways into the page, and the way out of it again. */
const hooks = () => {
  const undo = [];
  return {
    listen(target, type, call) {
      const heard = safe(call);
      target.addEventListener(type, heard);
      undo.push(() => target.removeEventListener(type, heard));
    },
    /** Replaces a method. It is put back only if nobody wrapped it since; otherwise the wrapper stays, and idles. */
    wrap: safe((owner, method, around) => {
      const original = owner[method];
      const wrapper = around(original);
      owner[method] = wrapper;
      undo.push(() => owner[method] === wrapper && (owner[method] = original));
    }),
    release: () => undo.splice(0).forEach((back) => safe(back)()),
  };
};

// --------------------------------------------------------------------------------------------------------------- outbox

/** Sends one body; returns 0 when it need not be sent again, or after how many milliseconds, NaN if nobody says. */
const post = async (send, path, body) => {
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(), PATIENCE);
  try {
    // A string is text/plain, which needs no preflight.
    const { ok, status, headers } = await send(path, { method: 'POST', body, credentials: 'omit', signal: deadline.signal });
    // What the server never takes is dropped; other refusals can be the word of somebody in between.
    return ok || status === 400 || status === 413 ? 0 : headers.get('retry-after') * 1000 || NaN;
  } catch {
    return NaN;
  } finally {
    clearTimeout(timer);
  }
};

const bodyOf = ({ who }, events) => JSON.stringify({ ...who, events });

/**
 * What waits for the server, and its way there. Batches are by device and bundle: by what ran when the events happened.
 * @param {string} path where to send to
 * @param {string} key in localStorage
 * @param {number} every milliseconds
 * @param {Promise<object>} identity the fields that a body has beside its events; the outbox closes if there are none
 */
const outbox = (path, key, every, identity) => {
  const send = window.fetch.bind(window); // not the one that is wrapped
  let batches = []; // of {who, events}
  let until = 0; // the server asked for silence till then; Unix milliseconds
  let patience = 0; // and after failures there is no attempt before this
  let failures = 0; // in a row
  let early = []; // events from before the identity was known
  let who;
  let unsent = false; // something happened since the last beacon
  let closed = false;
  let sending; // the promise of the flush under way
  let unsaved; // the promise of the saving to come
  let timer;

  const restore = safe(() => {
    const saved = JSON.parse(localStorage.getItem(key));
    batches = saved.batches.filter((batch) => batch.who.app_id && batch.events[0]);
    if (saved.until < Date.now() + HOUR) until = saved.until;
  });

  const store = safe(() => {
    unsaved = false;
    if (batches[0]) localStorage.setItem(key, JSON.stringify({ until, batches }));
    else localStorage.removeItem(key);
  });

  /** Saves as soon as what runs has ended, so that many events at once are saved once. */
  const save = () => (unsaved = unsaved || known.then(store));

  const remove = (batch, gone) => {
    batch.events = batch.events.filter((event) => !gone.includes(event));
    batches = batches.filter(({ events }) => events[0]);
  };

  const put = (event) => {
    let last = batches[batches.length - 1];
    if (JSON.stringify(last?.who) !== JSON.stringify(who)) batches.push((last = { who, events: [] }));
    last.events.push(event);
    if (batches.reduce((sum, { events }) => sum + events.length, 0) > WAITING) remove(batches[0], [batches[0].events[0]]);
    save();
    unsent = true;
    if (last.events.length < FULL) later();
    else flush();
  };

  const later = () => {
    if (closed || timer || !batches[0]) return;
    timer = setTimeout(() => {
      timer = 0;
      flush();
    }, Math.max(every, until - Date.now(), patience - Date.now()));
  };

  const known = identity.then((it) => {
    if (closed) return;
    restore();
    who = it;
    early.splice(0).forEach(put);
    later();
  }, () => (closed = true));

  const drain = async () => {
    await known;
    clearTimeout(timer);
    timer = 0;
    while (batches[0]) {
      if (closed || Date.now() < Math.max(until, patience)) return;
      const [batch] = batches;
      const events = batch.events.slice(0, AT_ONCE);
      const wait = await post(send, path, bodyOf(batch, events));
      if (closed) return; // what waits in storage may be another client's by now
      if (wait === 0) {
        failures = 0;
        remove(batch, events);
      } else if (wait > 0) until = Date.now() + Math.min(wait, HOUR);
      else patience = Date.now() + Math.min((every + 1e3) * 2 ** failures++, LONGEST) * (1 + Math.random()) / 2;
      save();
    }
  };

  /** Resolves to whether the server has everything. */
  const flush = () => (sending = sending ?? drain().then(() => {
    sending = undefined;
    later();
    return !batches[0] && !closed;
  }));

  return {
    flush,
    later,
    add(type, fields) {
      if (closed) return;
      const event = { type, at: Date.now(), ...fields };
      if (who) put(event);
      else if (early.length < FULL) early.push(event);
    },
    /** Tries again, however often it failed. */
    retry() {
      patience = 0;
      flush();
    },
    /** Hands everything to the browser, which sends it also when the page is gone, and does not say whether it arrived. */
    beacon() {
      if (closed || !unsent || Date.now() < until) return;
      unsent = false;
      for (const batch of batches) {
        for (let i = 0; i < batch.events.length; i += FULL) {
          if (!navigator.sendBeacon(path, bodyOf(batch, batch.events.slice(i, i + FULL)))) return;
        }
      }
    },
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
};

// -------------------------------------------------------------------------------------------------------- what is watched

const now = () => performance.now();

/** Adds a timing, unless there were too many in this minute or it has no name. Times are those of performance.now. */
const stopwatch = (add, perMinute) => {
  let minute = 0;
  let count = 0;
  return safe((type, name, began, ended = now()) => {
    if (ended - minute > 60_000) [minute, count] = [ended, 0];
    if (name && count++ < perMinute) add(type, { name, value_ms: Math.round(ended - began) });
  });
};

/** A session lasts while the page is in front. What repeats in one is told of once. */
const watchSessions = ({ listen }, { add, beacon, later }) => {
  let shown = 0; // since when; 0 while it is not
  let told;
  const appeared = () => {
    if (shown || document.hidden) return;
    shown = now();
    told = new Set();
    later();
  };
  const hidden = () => {
    if (shown) add('session_length', { value_ms: Math.round(now() - shown) });
    shown = 0;
    beacon();
  };
  appeared();
  listen(document, 'visibilitychange', () => (document.hidden ? hidden() : appeared()));
  listen(window, 'pagehide', hidden);
  listen(window, 'pageshow', appeared);
  return {
    /** The session, as long as the page is in front; undefined otherwise. */
    current: () => (shown ? told : undefined),
    once(type, field, text) {
      if (!text || !told || told.has(type + text) || told.size >= DIFFERENT) return;
      told.add(type + text);
      add(type, { [field]: text });
    },
  };
};

const watchErrors = ({ listen }, once) => {
  const tell = (reason) => {
    const text = String(reason).replace(/\w+:\/\/\S+/g, '<url>').replace(/\S+@\S+/g, '<address>');
    // A browser's remark, which nearly every page earns.
    if (!/^ResizeObserver loop/.test(text)) once('js_error', 'message', clip(text, MESSAGE));
  };
  listen(window, 'error', ({ message }) => message && tell(message));
  listen(window, 'unhandledrejection', ({ reason }) => tell(reason));
};

/** Times the page load, and changes of route: until the next paint, and until there is nothing else to do after it. */
const watchPages = ({ listen, wrap }, session, timed, named) => {
  const here = () => named(location.pathname + (location.hash.match(/^#!?\/[^?&]*/) ?? ''));
  const first = session();
  let place = here();
  let change; // the one that is being timed
  const moved = safe(() => {
    const to = here();
    if (to === place) return;
    place = to;
    const began = now();
    const during = session();
    const mine = (change = {});
    const settled = () => during && during === session() && mine === change && timed('load_time', to, began);
    requestAnimationFrame(() => requestAnimationFrame(() => (window.requestIdleCallback ?? setTimeout)(settled)));
  });
  const loaded = safe(() => {
    const [page] = performance.getEntriesByType('navigation');
    if (first && first === session()) timed('load_time', place, 0, page.loadEventEnd);
  });
  if (document.readyState === 'complete') loaded();
  else listen(window, 'load', () => setTimeout(loaded)); // the event is part of the load itself
  listen(window, 'popstate', moved);
  for (const method of ['pushState', 'replaceState']) {
    wrap(History.prototype, method, (original) => function () {
      const result = original.apply(this, arguments);
      moved();
      return result;
    });
  }
};

/** Times fetch until the head of a response is there, and XMLHttpRequest until the whole. What fails has no time. */
const watchCalls = ({ wrap }, timed, nameOf) => {
  wrap(window, 'fetch', (original) => function (input) {
    const began = now();
    const answer = original.apply(this, arguments);
    const name = nameOf(input);
    // The app gets the promise that follows, so that a failure nobody handles stays one that nobody handles.
    return name ? answer.then((response) => (timed('api_time', name, began), response)) : answer;
  });

  const calls = new WeakMap(); // by XMLHttpRequest
  const opened = safe((request, url) => {
    if (!calls.has(request)) {
      request.addEventListener('loadend', safe(() => {
        const { name, began } = calls.get(request);
        if (request.status) timed('api_time', name, began);
      }));
    }
    calls.set(request, { url });
  });
  const sent = safe((request) => {
    const call = calls.get(request);
    call.name = nameOf(call.url);
    call.began = now();
  });
  wrap(XMLHttpRequest.prototype, 'open', (original) => function (_, url) {
    opened(this, url);
    return original.apply(this, arguments);
  });
  wrap(XMLHttpRequest.prototype, 'send', (original) => function () {
    sent(this);
    return original.apply(this, arguments);
  });
};

// ----------------------------------------------------------------------------------------------------------------- start

/** The fields of a body: what the app says, and the plugin where it does not. */
const identify = async ({ app, deviceId, version, device }, updater, native) => {
  const [id, current, plugin] = updater
    ? await Promise.all([updater.getDeviceId(), updater.current(), updater.getPluginVersion?.()])
    : [];
  const who = {
    app_id: app,
    device_id: deviceId ?? id.deviceId,
    platform: native?.getPlatform?.(),
    version_name: version ?? current.bundle.version,
    version_build: current?.native,
    plugin_version: plugin?.version,
    ...device,
  };
  if (!/^[\da-f-]{36}$/i.test(who.device_id)) throw Error('the device id is no UUID');
  return who;
};

const client = (options) => {
  const { app, every = EVERY, perMinute = PER_MINUTE, name = withoutIds } = options;
  const native = window.Capacitor;
  // Loaded from a server, the module reports to that one. As a part of an app's own file it must be told.
  const server = (options.url ?? import.meta.url.replace(/\/palier\.js.*/, '')).replace(/\/+$/, '');
  if (!app || !/^https?:(?!.*js$)/.test(server)) throw Error('app and url?');

  const identity = identify(options, options.updater ?? native?.Plugins?.CapacitorUpdater, native);
  const box = outbox(`${server}/telemetry`, `palier:${app}`, every, identity);
  const page = hooks();
  const stop = () => {
    box.close();
    page.release();
  };
  identity.catch((problem) => {
    stop();
    warn(problem);
  });

  const named = safe((path) => clip(name(path) ?? '', NAME));
  /** The name of a call; none for what is no call to an API: the app's own files, and what goes to Palier. */
  const nameOf = safe((input) => {
    const { protocol, origin, href, pathname } = new URL(input.url ?? input, document.baseURI);
    const file = native?.isNativePlatform?.() && origin === location.origin;
    return /^http/.test(protocol) && !file && !href.startsWith(`${server}/`) && named(pathname);
  });
  const timed = stopwatch(box.add, perMinute);
  const { current, once } = watchSessions(page, box);
  watchErrors(page, once);
  watchPages(page, current, timed, named);
  watchCalls(page, timed, nameOf);
  page.listen(window, 'online', box.retry);

  const tell = (type, fields) => {
    box.add(type, fields);
    return box.flush();
  };
  return {
    track: safe((feature) => once('feature_use', 'name', clip(feature, NAME))),
    feedback: (given) => tell('feedback', {
      score: given?.score, negative: given?.negative, message: given?.message && clip(given.message, WORDS),
    }),
    consent: (bundle, granted) => tell('consent', { bundle: clip(bundle, NAME), granted: !!granted }),
    flush: box.flush,
    stop,
  };
};

const warn = (problem) => console.warn('palier does not measure:', problem);

/** What start returns when it cannot start. */
const idle = () => {
  const nothing = async () => false;
  return { track() {}, feedback: nothing, consent: nothing, flush: nothing, stop() {} };
};

/** The client that start returned last. */
let running;

/**
 * Starts to measure, and returns what the app itself can say. A client that runs already is stopped. It never throws:
 * what is wrong with the options is said on the console, and the client that is returned does nothing.
 * @param {import('./palier.d.ts').Options} options
 * @returns {import('./palier.d.ts').Palier}
 */
export const start = (options) => {
  running?.stop();
  try {
    running = client(options);
  } catch (problem) {
    warn(problem);
    running = idle();
  }
  return running;
};
