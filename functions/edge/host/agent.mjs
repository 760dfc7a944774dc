/**
 * fetch for Node, over connections that stay open. Node's own gives one up after four idle seconds, which for an edge
 * that asks for snapshots every five is a new handshake each time; here it stays until the origin closes it.
 *
 * It does what an edge needs of fetch, and follows no redirects.
 */

import http from 'node:http';
import https from 'node:https';
import { Readable } from 'node:stream';

/** Statuses whose answers have no body: a Response with one cannot be made. */
const BODILESS = new Set([101, 204, 205, 304]);

/** Connections to the origin. What comes beyond waits for one to be free. */
const MAX_CONNECTIONS = 256;

/**
 * Returns a fetch with connections of its own.
 * @returns {(url: string, init: RequestInit) => Promise<Response>} bodies are texts or bytes, headers are Headers
 */
export function fetchKeepingAlive() {
  const options = { keepAlive: true, maxSockets: MAX_CONNECTIONS };
  const agents = { 'http:': new http.Agent(options), 'https:': new https.Agent(options) };
  const attempt = (url, init) => new Promise((resolve, reject) => {
    const { protocol } = new URL(url);
    const headers = Object.fromEntries(init.headers ?? []);
    if (init.body !== undefined) headers['content-length'] = Buffer.byteLength(init.body);
    const send = protocol === 'https:' ? https.request : http.request;
    const request = send(url, { method: init.method ?? 'GET', headers, agent: agents[protocol], signal: init.signal });
    request.on('response', (response) => {
      try {
        resolve(responseOf(response));
      } catch (error) { // a status that no Response can have
        response.destroy();
        reject(error);
      }
    });
    request.on('error', (error) => reject(Object.assign(error, { reused: request.reusedSocket })));
    request.end(init.body);
  });
  return async (url, init) => {
    try {
      return await attempt(url, init);
    } catch (error) {
      // The origin closed an idle connection at the moment it was used again: nothing was asked yet.
      if (!error.reused || error.code !== 'ECONNRESET') throw error;
      return attempt(url, init);
    }
  };
}

/** A Response of what Node has received. */
function responseOf(message) {
  const { statusCode: status, rawHeaders } = message;
  const headers = new Headers();
  for (let i = 0; i < rawHeaders.length; i += 2) headers.append(rawHeaders[i], rawHeaders[i + 1]);
  if (!BODILESS.has(status)) return new Response(Readable.toWeb(message), { status, headers });
  message.resume();
  return new Response(null, { status, headers });
}
