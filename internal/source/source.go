// Package source tells where a request comes from, as coarsely as is of use.
//
// Device ids cost nothing: a script has as many as it likes. Networks it has few of. So what may count per device is also
// bounded per source, and a source is the network that one customer of a provider has at least: 256 addresses of IPv4, or
// an IPv6 site, which is a /48 (RFC 6177). It is no name of a device, and finer than that nothing is remembered.
//
// Whoever answers devices finds the source of a request with Of. An edge hands it on to its origin as text, which Network
// reads there.
package source

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// The sizes of a source, in bits of the address.
const (
	bits4 = 24
	bits6 = 48
)

// maxHops is how many proxies one behind the other are looked through.
const maxHops = 16

// MaxText is the length of the longest text that names a source, in bytes.
const MaxText = len("ffff:ffff:ffff::/48")

// Of returns the network of the client that sent a request. The peer is the other end of the connection, an address with
// or without a port; forwarded are the lines of the header X-Forwarded-For, to which each proxy appends the address that it
// was asked from. Of what they say as much is believed as trusted proxies wrote: the client is the last one that is no
// trusted proxy itself. Loopback addresses are always trusted, since a proxy on the same machine is part of the server.
//
// It is false when the client is not known: the peer has no address, or is a trusted proxy that tells none.
func Of(peer string, forwarded []string, trusted []netip.Prefix) (netip.Prefix, bool) {
	client, ok := parseAddress(peer)
	hops := 0
	for line := len(forwarded) - 1; ok && trusts(trusted, client) && line >= 0; line-- {
		rest, more := forwarded[line], true
		for ; ok && more && trusts(trusted, client); hops++ {
			var last string
			rest, last, more = cutLast(rest)
			client, ok = parseAddress(last)
			ok = ok && hops < maxHops
		}
	}
	if !ok || trusts(trusted, client) {
		return netip.Prefix{}, false
	}
	return networkOf(client)
}

// Network reads a source as an edge tells it: a network, or an address of one. It is false for any other text, and for
// networks that are larger than a source.
func Network(text string) (netip.Prefix, bool) {
	if !strings.Contains(text, "/") {
		return Of(text, nil, nil)
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() || p.Bits() < bitsOf(p.Addr()) {
		return netip.Prefix{}, false
	}
	return networkOf(p.Addr())
}

// ParseTrusted reads the proxies to trust: addresses and networks, separated by commas; none if the text is empty. Its
// error says which is wrong, and what to give.
func ParseTrusted(text string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		p, err := parseTrusted(item)
		if err != nil {
			return nil, fmt.Errorf("%q is %w", item, err)
		}
		list = append(list, p)
	}
	return list, nil
}

var errNoNetwork = errors.New("no network: give networks such as 10.0.0.0/8 or addresses such as 192.0.2.7, separated by commas")

func parseTrusted(item string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(item); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(item)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, errNoNetwork
	}
	return p.Masked(), nil
}

// trusts reports whether an address is one of a trusted proxy.
func trusts(trusted []netip.Prefix, a netip.Addr) bool {
	if a.IsLoopback() || a.IsUnspecified() {
		return true
	}
	for _, p := range trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// cutLast returns the last item of a comma-separated list, what is before it, and whether that has items too.
func cutLast(list string) (rest, last string, more bool) {
	if at := strings.LastIndexByte(list, ','); at >= 0 {
		return list[:at], strings.TrimSpace(list[at+1:]), true
	}
	return "", strings.TrimSpace(list), false
}

// parseAddress reads an address, with or without a port.
func parseAddress(text string) (netip.Addr, bool) {
	if strings.HasPrefix(text, "[") || strings.Count(text, ":") == 1 {
		with, err := netip.ParseAddrPort(text)
		return with.Addr().Unmap().WithZone(""), err == nil
	}
	a, err := netip.ParseAddr(text)
	return a.Unmap().WithZone(""), err == nil
}

// networkOf returns the source that an address belongs to. It is false for what is of this machine only.
func networkOf(a netip.Addr) (netip.Prefix, bool) {
	network := netip.PrefixFrom(a.WithZone(""), bitsOf(a)).Masked()
	return network, !trusts(nil, network.Addr())
}

func bitsOf(a netip.Addr) int {
	if a.Is4() {
		return bits4
	}
	return bits6
}
