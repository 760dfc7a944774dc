package edgehost

import (
	"net"
	"net/http"
	"strings"

	"github.com/palier-ota/palier/internal/source"
)

// forwardedFor is the header in which each proxy names who asked it.
const forwardedFor = "X-Forwarded-For"

// sourceOf returns the network that a request comes from, as the origin wants to know it: it bounds what one network can
// report. A proxy on this machine is believed on whom it asks for. Empty if it is not known. The address itself goes
// nowhere, and what waits in a spool has the network only.
func sourceOf(r *http.Request) string {
	network, ok := source.Of(r.RemoteAddr, r.Header[forwardedFor], nil)
	if !ok {
		return ""
	}
	return network.String()
}

// appendPeer says in a request to the origin who asked here, as proxies do. An origin that trusts this edge believes it.
func appendPeer(to http.Header, peer string) {
	host, _, err := net.SplitHostPort(peer)
	if err != nil {
		return
	}
	to.Set(forwardedFor, strings.Join(append(to.Values(forwardedFor), host), ", "))
}
