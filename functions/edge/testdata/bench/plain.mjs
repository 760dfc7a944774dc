/**
 * What the module is compared with: the same decision as one would write it in JavaScript, with JSON.parse,
 * xxhash-wasm and JSON.stringify. It checks the same fields in the same order, parses the same versions, finds the
 * channel, places the device in the rollout, and weighs the bundle as package resolve does; the benchmark holds its
 * answers against the module's, byte for byte.
 *
 * It leaves out what the benchmark's apps do not have: segments, manifests, links and comments, channels of devices'
 * own, bundles that devices keep from halted rollouts, the store build as an answer, and policies other than major.
 * And it does not note who asked.
 */

/** https://semver.org has it */
const IDENTIFIER = /(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)/.source;
const NUMBER = /(0|[1-9]\d*)/.source;
const SEMVER = new RegExp(`^${NUMBER}\\.${NUMBER}\\.${NUMBER}(?:-(${IDENTIFIER}(?:\\.${IDENTIFIER})*))?` +
  '(?:\\+[0-9a-zA-Z-]+(?:\\.[0-9a-zA-Z-]+)*)?$');
const UUID = /^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$/;
const APP = /^[a-zA-Z0-9]+(?:\.[a-zA-Z0-9_-]+)+$/;

const TEXTS = [
  'platform', 'device_id', 'app_id', 'custom_id', 'version_build', 'version_code', 'version_os', 'version_name',
  'plugin_version', 'install_source', 'defaultChannel', 'key_id',
];
const REQUIRED = ['platform', 'device_id', 'app_id', 'version_build', 'version_name', 'plugin_version'];
const FLAGS = ['is_emulator', 'is_prod'];
const PLATFORMS = ['android', 'ios', 'electron'];

const MAX_BODY = 64 << 10; // bytes
const SALT_BYTES = 16;
const ID_BYTES = 36;
const EVERYONE = 1_000_000_000n; // positions

/** Plugins up to this one send too little of their key to tell it from others. */
const LAST_SHORT_KEY_ID = Object.freeze({ major: 8, minor: 40, patch: 7, pre: '' });

/** A request that gets no decision. */
class Refusal {
  constructor(status, error, message, moreInfo = {}) {
    this.status = status;
    this.body = JSON.stringify({ error, message, moreInfo });
  }
}

const badField = (name, problem) => new Refusal(400, 'invalid_json_body', 'invalid body', { [name]: problem });
const empty = (value) => value === undefined || value === null || value === '';

/** @returns {{major: number, minor: number, patch: number, pre: string} | null} */
function versionOf(text) {
  const found = SEMVER.exec(text);
  return found === null ? null : { major: +found[1], minor: +found[2], patch: +found[3], pre: found[4] ?? '' };
}

function compare(a, b) {
  return a.major - b.major || a.minor - b.minor || a.patch - b.patch || comparePre(a.pre, b.pre);
}

function comparePre(a, b) {
  if (a === b) return 0;
  if (a === '') return 1;
  if (b === '') return -1;
  const [x, y] = [a.split('.'), b.split('.')];
  for (let i = 0; i < Math.min(x.length, y.length); i++) {
    if (x[i] === y[i]) continue;
    const [p, q] = [/^\d+$/.test(x[i]), /^\d+$/.test(y[i])];
    if (p && q) return Number(x[i]) - Number(y[i]);
    if (p !== q) return p ? -1 : 1;
    return x[i] < y[i] ? -1 : 1;
  }
  return x.length - y.length;
}

/** Reads the body of a check and checks its fields; what comes out is a check, or a Refusal. */
function parse(text) {
  let fields;
  try {
    fields = JSON.parse(text);
  } catch {
    return new Refusal(400, 'invalid_json_parse_body', 'the body is not valid JSON');
  }
  if (fields === null || typeof fields !== 'object' || Array.isArray(fields)) {
    return new Refusal(400, 'invalid_json_body', 'the body must be a JSON object', { body: 'must be an object' });
  }
  if (empty(fields.device_id)) {
    return new Refusal(400, 'missing_device_id', 'device_id is required', { device_id: 'is required' });
  }
  if (empty(fields.app_id)) return new Refusal(400, 'missing_app_id', 'app_id is required', { app_id: 'is required' });
  const native = versionOf(fields.version_build);
  if (native === null) {
    return new Refusal(400, 'semver_error', 'version_build is not a semantic version', {
      version_build: 'must be a semantic version, such as 1.2.3',
    });
  }
  for (const name of REQUIRED) if (fields[name] === undefined) return badField(name, 'is required');
  for (const name of TEXTS) {
    if (fields[name] !== undefined && typeof fields[name] !== 'string') return badField(name, 'must be a string');
  }
  for (const name of FLAGS) {
    if (fields[name] !== undefined && typeof fields[name] !== 'boolean') return badField(name, 'must be true or false');
  }
  if (!APP.test(fields.app_id)) return badField('app_id', 'must be a reverse-domain id, such as com.example.app');
  if (!UUID.test(fields.device_id)) return badField('device_id', 'must be a UUID of 36 characters');
  const plugin = versionOf(fields.plugin_version);
  if (plugin === null) return badField('plugin_version', 'must be a semantic version');
  if ((fields.key_id ?? '').length > 20) return badField('key_id', 'must have at most 20 characters');
  if ((fields.install_source ?? '').length > 64) return badField('install_source', 'must have at most 64 characters');
  if (!PLATFORMS.includes(fields.platform)) return badField('platform', 'must be android, ios or electron');
  if (fields.version_name === '') return badField('version_name', 'must not be empty');
  return {
    app: fields.app_id, device: fields.device_id.toLowerCase(), platform: fields.platform, native, plugin,
    running: fields.version_name, channel: fields.defaultChannel ?? '', key: fields.key_id ?? '',
    emulator: fields.is_emulator === true, prod: fields.is_prod !== false,
  };
}

/** An app's Spec, ready to decide from. */
class App {
  constructor(spec) {
    const parsed = (bundle) => ({ ...bundle, semver: versionOf(bundle.version) });
    this.bundles = new Map(spec.bundles.map((bundle) => [bundle.version, parsed(bundle)]));
    this.channels = new Map(spec.channels.map((channel) => [channel.name, channel]));
    this.public = new Map(PLATFORMS.map((platform) => [platform, spec.channels.find((c) => c.public && c[platform])]));
    const placed = (rollout) => ({ ...rollout, ...placing(rollout) });
    this.rollouts = new Map((spec.rollouts ?? []).map((rollout) => [rollout.channel, placed(rollout)]));
  }
}

/** What is hashed of a device, with the salt in its place, and the positions below which a rollout's phases admit. */
function placing({ salt, cuts }) {
  const hashed = new Uint8Array(SALT_BYTES + ID_BYTES);
  for (let i = 0; i < SALT_BYTES; i++) hashed[i] = Number.parseInt(salt.slice(2 * i, 2 * i + 2), 16);
  const below = cuts.map(({ percent }) => BigInt(Math.round(percent * 1e7)));
  return { hashed, id: hashed.subarray(SALT_BYTES), below };
}

/** Decides and answers. */
export class Plain {
  #apps;
  #hash;
  #encoder = new TextEncoder();

  /** @param {object[]} specs @param {import('xxhash-wasm').XXHashAPI} hasher */
  constructor(specs, hasher) {
    this.#apps = new Map(specs.map((spec) => [spec.app, new App(spec)]));
    this.#hash = hasher.h64Raw;
  }

  /**
   * Answers the body of a POST /updates.
   * @param {string} text
   * @param {{failed: string[]}} facts of the device
   * @returns {{status: number, body: string}}
   */
  check(text, facts) {
    if (text.length > MAX_BODY) {
      return new Refusal(400, 'invalid_json_body', 'the body is too large', { body: `at most ${MAX_BODY} bytes` });
    }
    const check = parse(text);
    if (check instanceof Refusal) return check;
    const app = this.#apps.get(check.app);
    if (app === undefined) return new Refusal(429, 'too_many_requests', 'too many requests, try again later');
    return { status: 200, body: this.#decide(app, check, facts) };
  }

  #decide(app, check, facts) {
    if (check.plugin.major === 4) {
      return failed(
        'unsupported_plugin_version',
        'This plugin version is no longer supported, please update @capgo/capacitor-updater',
      );
    }
    const channel = channelOf(app, check);
    if (channel === undefined) return failed('no_channel', 'no default channel or override');
    const bundle = this.#target(app, channel, check);
    if (bundle === undefined) return failed('no_bundle', 'Cannot get bundle');
    const no = weigh(channel, bundle, check);
    if (no !== '') return no;
    if (facts.failed.includes(bundle.version)) {
      return blocked('bundle_failed_on_device', 'The bundle failed on this device and is not offered to it again', {});
    }
    return JSON.stringify({
      version: bundle.version, url: bundle.url, session_key: bundle.session_key ?? '',
      checksum: bundle.checksum || null,
    });
  }

  /** The bundle that the device should have. */
  #target(app, channel, check) {
    const rollout = app.rollouts.get(channel.name);
    if (rollout === undefined) return app.bundles.get(channel.bundle);
    const admitted = rollout.paused ? check.running === rollout.bundle : this.#admits(rollout, check.device);
    return app.bundles.get(admitted ? rollout.bundle : rollout.baseline);
  }

  #admits(rollout, device) {
    this.#encoder.encodeInto(device, rollout.id);
    const position = (this.#hash(rollout.hashed) >> 32n) * EVERYONE >> 32n;
    return rollout.below.some((below) => position < below);
  }
}

function channelOf(app, check) {
  if (check.channel === '') return app.public.get(check.platform);
  const named = app.channels.get(check.channel);
  const open = named !== undefined && named[check.platform] && (named.public || named.allow_device_self_set);
  return open ? named : undefined;
}

/** The answer that says why the device does not get the bundle; '' if it does. */
function weigh(channel, bundle, check) {
  const step = { version: bundle.version, old: check.running };
  if (bundle.key_id && check.key && bundle.key_id !== check.key && compare(check.plugin, LAST_SHORT_KEY_ID) > 0) {
    return blocked('key_id_mismatch', 'The bundle is encrypted for another public key than the device has', {
      deviceKeyId: check.key, bundleKeyId: bundle.key_id,
    });
  }
  if (bundle.version === check.running) {
    return upToDate('no_new_version_available', 'No new version available');
  }
  if (!channel[check.platform]) {
    const problem = 'Cannot update, the channel is disabled for this platform';
    return blocked(`disabled_platform_${check.platform}`, problem, step);
  }
  if (channel.disable_auto_update === 'major' && bundle.semver.major > check.native.major) {
    const { major, minor, patch } = check.native;
    return blocked('disable_auto_update_to_major', 'Cannot upgrade major version', {
      major: true, version: bundle.version, old: `${major}.${minor}.${patch}`,
    });
  }
  if (!channel.public && !channel.allow_device_self_set) {
    return blocked(
      'cannot_update_via_private_channel',
      'Cannot update via a private channel. Make the channel public or let devices choose it', step,
    );
  }
  if (channel.disable_auto_update_under_native && compare(bundle.semver, check.native) < 0) {
    return blocked('disable_auto_update_under_native', 'Cannot revert under native version', step);
  }
  if (check.prod && !channel.allow_prod) {
    return blocked('disable_prod_build', 'Cannot update, production builds are disabled', step);
  }
  if (!check.prod && !channel.allow_dev) {
    return blocked('disable_dev_build', 'Cannot update, development builds are disabled', step);
  }
  if (!check.emulator && !channel.allow_device) {
    return blocked('disable_device', 'Cannot update, physical devices are disabled', step);
  }
  if (check.emulator && !channel.allow_emulator) {
    return blocked('disable_emulator', 'Cannot update, emulators are disabled', step);
  }
  return '';
}

const upToDate = (error, message) => JSON.stringify({ error, message, kind: 'up_to_date' });
const failed = (error, message) => JSON.stringify({ error, message, kind: 'failed' });
const blocked = (error, message, more) => JSON.stringify({ error, message, kind: 'blocked', ...more });
