/**
 * What an edge answers without the module and without the origin: the very bytes that the origin has for it, with their
 * headers, and the bounds of what it reads.
 */

import { MAX_CHECK } from './module.mjs';

/** What GET /updates and the like are answered, and telemetry that is safe. capgo.HealthBody */
export const HEALTH = '{"status":"ok"}';

/** What unknown paths are answered, with 404. capgo.NotFoundBody */
export const NOT_FOUND =
  '{"error":"not_found","message":"no such path: the plugin\'s are /updates, /stats and /channel_self"}';

/** What a body that broke off is answered, with 400: internal/device, http.go. */
export const BROKEN =
  '{"error":"invalid_json_parse_body","message":"the body did not arrive whole","moreInfo":{}}';

/**
 * The headers of every answer.
 * @type {Readonly<Record<string, string>>}
 */
export const JSON_HEADERS = Object.freeze({ 'content-type': 'application/json' });

/** With these any page may send app metrics: a Capacitor app's page has an origin of its own. device.CrossOrigin */
const TELEMETRY_HEADERS = Object.freeze({
  ...JSON_HEADERS,
  'access-control-allow-origin': '*', 'access-control-allow-methods': 'POST',
  'access-control-allow-headers': 'Content-Type', 'access-control-expose-headers': 'Retry-After',
  'access-control-max-age': '86400',
});

/** Bytes, as at the origin: capgo.MaxCheckBody, MaxStatsBody and MaxManifestBody, telemetry.MaxMetricsBytes. */
const LIMITS = Object.freeze({
  '/updates': MAX_CHECK, '/updates/manifest_size': 2 << 20, '/channel_self': MAX_CHECK, '/stats': 1 << 20,
  '/telemetry': 1 << 20,
});

/** The largest body of anything else. */
const LIMIT = 64 << 10;

/**
 * The largest body that a path takes.
 * @param {string} path
 * @returns {number} bytes
 */
export const limitOf = (path) => LIMITS[path] ?? LIMIT;

/**
 * The refusal of a body that is too large, to be sent with 400. capgo.TooLarge
 * @param {number} limit bytes
 * @returns {string} JSON
 */
export const tooLarge = (limit) =>
  `{"error":"invalid_json_body","message":"the body is too large","moreInfo":{"body":"at most ${limit} bytes"}}`;

/**
 * A refusal for operators and origins, in the words of the operators' API.
 * @param {string} error a code
 * @param {string} message
 * @returns {string} JSON
 */
export const failure = (error, message) => JSON.stringify({ error, message });

/**
 * The headers of what a path is answered.
 * @param {string} path
 * @returns {Record<string, string>}
 */
export const headersOf = (path) => (path === '/telemetry' ? TELEMETRY_HEADERS : JSON_HEADERS);

/**
 * The headers, with one that says after how many seconds to come again.
 * @param {Record<string, string>} headers
 * @param {number} seconds 0 adds none
 * @returns {Record<string, string>}
 */
export const withRetry = (headers, seconds) => (seconds === 0 ? headers : { ...headers, 'retry-after': `${seconds}` });
