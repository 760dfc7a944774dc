/**
 * What an operator tells an edge. Settings come as names and texts, from a process's environment or a Worker's
 * bindings, and are read once, at the start: an edge that starts has settings that make sense, and one that does not
 * says which variable is wrong and what to do about it. All mistakes are told at once, and no message repeats a secret.
 */

/**
 * @typedef {object} Settings
 * @property {string} origin the origin's URL without a trailing slash
 * @property {string} token the edge token; a secret
 * @property {string[]} apps ids of the apps that this edge answers for
 * @property {Uint8Array[]} keys raw Ed25519 public keys that may sign snapshots
 * @property {number} poll seconds between two looks for a newer snapshot
 * @property {number} grace seconds beyond a snapshot's expiry during which it still answers
 * @property {number} gather milliseconds for which telemetry is gathered into one request to the origin
 * @property {number} queue bytes of telemetry that may wait for an origin that cannot be reached
 */

/** The module takes no more: internal/edge, MaxApps and MaxKeys. */
const MAX_APPS = 64;
const MAX_KEYS = 4;

const KEY_BYTES = 32;

/** How much telemetry may wait if nothing is said: in memory, and on disk. Bytes. */
const QUEUE = 4 << 20;
const QUEUE_ON_DISK = 256 << 20;

/** An app's id, as the origin takes it: reverse-domain, at most 128 characters. */
const APP = /^(?=.{1,128}$)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$/;

/** A token as the origin takes it: printable, without spaces. */
const TOKEN = /^[!-~]{1,512}$/;

/** The settings are wrong. The message has a line for each mistake and is fit for a log. */
export class SettingsError extends Error {
  /** @param {string[]} problems */
  constructor(problems) {
    super(`the edge's settings are not usable:\n  ${problems.join('\n  ')}`);
    this.name = 'SettingsError';
  }
}

/**
 * Reads and checks the settings.
 * @param {Record<string, unknown>} environment variables by name; a Worker's other bindings may be among them
 * @returns {Settings}
 * @throws {SettingsError} naming each variable that is missing or wrong
 */
export function readSettings(environment) {
  /** @type {string[]} */
  const problems = [];
  const text = (name) => (typeof environment[name] === 'string' ? environment[name].trim() : '');
  const list = (name) => [...new Set(text(name).split(',').map((item) => item.trim()).filter(Boolean))];
  const refuse = (name, remedy) => void problems.push(`${name}: ${remedy}`);
  const number = (name, preset, least, most, unit) => {
    const value = text(name) === '' ? preset : Number(text(name));
    if (Number.isInteger(value) && value >= least && value <= most) return value;
    refuse(name, `give a whole number of ${unit} from ${least} to ${most}, or leave it out for ${preset}`);
    return preset;
  };

  const settings = {
    origin: originOf(text('PALIER_ORIGIN'), (remedy) => refuse('PALIER_ORIGIN', remedy)),
    token: text('PALIER_EDGE_TOKEN'),
    apps: list('PALIER_APPS'),
    keys: list('PALIER_KEYS').map(keyOf),
    poll: number('PALIER_POLL', 5, 1, 3600, 'seconds'),
    grace: number('PALIER_GRACE', 86_400, 0, 30 * 86_400, 'seconds'),
    gather: number('PALIER_GATHER', 200, 0, 5000, 'milliseconds'),
    queue: number('PALIER_QUEUE', text('PALIER_SPOOL') === '' ? QUEUE : QUEUE_ON_DISK, 0, 2 ** 40, 'bytes'),
  };
  if (!TOKEN.test(settings.token)) {
    refuse('PALIER_EDGE_TOKEN', 'give an edge token, whole; `palier token create NAME --role edge` makes one');
  }
  if (settings.apps.length === 0 || settings.apps.length > MAX_APPS || !settings.apps.every((app) => APP.test(app))) {
    refuse('PALIER_APPS', `give 1 to ${MAX_APPS} app ids, such as com.example.shop, separated by commas`);
  }
  if (settings.keys.length === 0 || settings.keys.length > MAX_KEYS || settings.keys.includes(null)) {
    refuse('PALIER_KEYS', `give 1 to ${MAX_KEYS} public keys, separated by commas, as \`palier keys\` prints them`);
  }
  if (problems.length > 0) throw new SettingsError(problems);
  return settings;
}

/** @returns {string} */
function originOf(text, refuse) {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !['http:', 'https:'].includes(url.protocol)) {
    refuse('give the URL of the origin, such as https://palier.example.com');
  } else if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    refuse('give the URL without user, password, query and fragment; the token has a variable of its own');
  }
  return text.replace(/\/+$/, '');
}

/** @returns {Uint8Array | null} the key in standard base64, or null */
function keyOf(text) {
  if (!/^[A-Za-z0-9+/]{43}=$/.test(text)) return null;
  const raw = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return raw.length === KEY_BYTES ? raw : null;
}
