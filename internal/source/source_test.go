package source

import (
	"net/netip"
	"strings"
	"testing"
)

func TestOf(t *testing.T) {
	proxies, err := ParseTrusted("10.0.0.0/8, 192.0.2.7,2001:db8:ffff::/48,")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, peer string
		forwarded  []string
		want       string // empty: not known
	}{
		{"a peer with a port", "203.0.113.77:51000", nil, "203.0.113.0/24"},
		{"a peer without one", "203.0.113.77", nil, "203.0.113.0/24"},
		{"IPv6", "[2001:db8:1:2::3]:443", nil, "2001:db8:1::/48"},
		{"IPv6 with a zone", "fe80::1%eth0", nil, "fe80::/48"},
		{"IPv4 in IPv6", "[::ffff:203.0.113.77]:443", nil, "203.0.113.0/24"},
		{"nobody's word counts", "203.0.113.77:1", []string{"198.51.100.1"}, "203.0.113.0/24"},
		{"a proxy on this machine", "127.0.0.1:1", []string{"198.51.100.1"}, "198.51.100.0/24"},
		{"a proxy on this machine, IPv6", "[::1]:1", []string{"198.51.100.1"}, "198.51.100.0/24"},
		{"a proxy that was named", "10.1.2.3:1", []string{"198.51.100.1"}, "198.51.100.0/24"},
		{"what the client wrote before it", "10.1.2.3:1", []string{"8.8.8.8, 198.51.100.1"}, "198.51.100.0/24"},
		{"in a line of its own", "10.1.2.3:1", []string{"8.8.8.8", "198.51.100.1"}, "198.51.100.0/24"},
		{"two proxies", "10.1.2.3:1", []string{"8.8.8.8,198.51.100.1 , 192.0.2.7"}, "198.51.100.0/24"},
		{"two proxies, two lines", "10.1.2.3:1", []string{"8.8.8.8,198.51.100.1", "192.0.2.7"}, "198.51.100.0/24"},
		{"a neighbour of a proxy", "192.0.2.8:1", []string{"198.51.100.1"}, "192.0.2.0/24"},
		{"with a port", "10.1.2.3:1", []string{"198.51.100.1:4711"}, "198.51.100.0/24"},
		{"IPv6 through an IPv6 proxy", "[2001:db8:ffff::1]:1", []string{"2001:db8:2::9"}, "2001:db8:2::/48"},
		{"a proxy that says nothing", "10.1.2.3:1", nil, ""},
		{"nothing but proxies", "10.1.2.3:1", []string{"10.9.9.9, 127.0.0.1"}, ""},
		{"a word that is no address", "10.1.2.3:1", []string{"198.51.100.1, unknown"}, ""},
		{"an empty word", "10.1.2.3:1", []string{"198.51.100.1,"}, ""},
		{"this machine", "127.0.0.1:1", nil, ""},
		{"no peer", "", []string{"198.51.100.1"}, ""},
		{"a socket of the file system", "@", nil, ""},
		{"no end of proxies", "10.1.2.3:1", []string{"198.51.100.1" + strings.Repeat(",10.0.0.1", maxHops)}, ""},
	} {
		got, ok := Of(c.peer, c.forwarded, proxies)
		if ok != (c.want != "") || ok && got.String() != c.want {
			t.Errorf("%s: %v, %t; want %q", c.name, got, ok, c.want)
		}
	}
}

func TestNetwork(t *testing.T) {
	for text, want := range map[string]string{
		"203.0.113.0/24": "203.0.113.0/24", "203.0.113.9": "203.0.113.0/24", "203.0.113.128/25": "203.0.113.0/24",
		"2001:db8:1::/48": "2001:db8:1::/48", "2001:DB8:1:0:0::/48": "2001:db8:1::/48", "2001:db8:1:2::/64": "2001:db8:1::/48",
		"": "", "203.0.0.0/16": "", "0.0.0.0/0": "", "2001:db8::/32": "", "127.0.0.0/24": "", "::1": "", "::/48": "",
		"::ffff:203.0.113.0/120": "", "fe80::%a/64": "", "shop": "", "203.0.113.0/24/24": "",
	} {
		got, ok := Network(text)
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%q: %v, %t; want %q", text, got, ok, want)
		}
		if len(want) > MaxText {
			t.Errorf("%q is longer than MaxText", want)
		}
	}
}

func TestParseTrustedRefuses(t *testing.T) {
	for _, text := range []string{"proxy.example.com", "10.0.0.0/33", "10.0.0.1 10.0.0.2", "::ffff:10.0.0.0/104"} {
		if list, err := ParseTrusted(text); err == nil || !strings.Contains(err.Error(), "192.0.2.7") {
			t.Errorf("%q: %v, %v", text, list, err)
		}
	}
	if list, err := ParseTrusted(""); list != nil || err != nil {
		t.Errorf("nothing: %v, %v", list, err)
	}
}

// FuzzOf: whatever clients and proxies write, the network is one of a source's size that holds no trusted proxy, and what
// was written before the last word of a trusted proxy changes nothing.
func FuzzOf(f *testing.F) {
	f.Add("10.0.0.1:1", "198.51.100.1", "8.8.8.8")
	f.Add("203.0.113.1", "", ",,,")
	f.Add("[::1]:80", "fe80::1%x, 2001:db8::1", "unknown")
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, peer, forwarded, before string) {
		got, ok := Of(peer, []string{forwarded}, proxies)
		if !ok {
			return
		}
		if got != got.Masked() || got.Addr().Is4() && got.Bits() != bits4 || got.Addr().Is6() && got.Bits() != bits6 {
			t.Errorf("%q %q: %v is no source", peer, forwarded, got)
		}
		if again, ok := Network(got.String()); !ok || again != got {
			t.Errorf("%v is told as %v", got, again)
		}
		if also, _ := Of(peer, []string{before + "," + forwarded}, proxies); also != got {
			t.Errorf("%q %q before %q: %v, not %v", peer, before, forwarded, also, got)
		}
	})
}

func TestOfAllocatesNothing(t *testing.T) {
	proxies, forwarded := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, []string{"8.8.8.8, 198.51.100.1"}
	if n := testing.AllocsPerRun(100, func() { Of("10.1.2.3:1", forwarded, proxies) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
