/**
 * Where a request comes from, as the origin wants to know it: the network, a /24 of IPv4 or a /48 of IPv6. By that it
 * bounds what one network can report. The address itself goes nowhere, and what waits in a spool has the network only.
 */

/** The header in which each proxy names who asked it. */
export const FORWARDED_FOR = 'x-forwarded-for';

/** Addresses of this machine: a proxy there is part of the server, and is believed on whom it asks for. */
const LOOPBACK = /^(127\.|::ffff:127\.|::1$)/i;

/**
 * Returns the network that a request comes from.
 * @param {string | undefined} peer the address at the other end of the connection, if it is known
 * @param {{get(name: string): string | null}} headers
 * @returns {string} '' if it is not known
 */
export function sourceOf(peer, headers) {
  if (peer === undefined) return '';
  if (!LOOPBACK.test(peer)) return networkOf(peer);
  const hops = (headers.get(FORWARDED_FOR) ?? '').split(',').map((hop) => hop.trim()).reverse();
  const client = hops.find((hop) => !LOOPBACK.test(hop)) ?? '';
  return networkOf(client);
}

/** The network of an address; '' if it is none. The origin takes nothing else for one, so it is not looked at closely. */
function networkOf(address) {
  const [, four] = /^(?:::ffff:)?((?:\d{1,3}\.){3})\d{1,3}$/i.exec(address) ?? [];
  if (four !== undefined) return `${four}0/24`;
  if (!/^[0-9a-f:]*:[0-9a-f:.]*(%|$)/i.test(address)) return '';
  const [left, right] = address.split('%')[0].split('::').map((half) => half.split(':').filter(Boolean));
  const zeros = right === undefined ? 0 : Math.max(0, 8 - left.length - right.length);
  const groups = [...left, ...Array(zeros).fill('0'), ...(right ?? [])];
  return `${groups.slice(0, 3).join(':')}::/48`;
}
