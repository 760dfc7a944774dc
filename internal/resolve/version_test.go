package resolve

import (
	"strings"
	"testing"

	"github.com/Masterminds/semver/v3"
)

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]Version{
		"0.0.0":                    {},
		"1.2.3":                    {1, 2, 3, ""},
		"10.20.30-rc.1":            {10, 20, 30, "rc.1"},
		"1.0.0-alpha-a.b-c.0":      {1, 0, 0, "alpha-a.b-c.0"},
		"1.0.0+build.007":          {1, 0, 0, ""},
		"1.0.0-0A.is.legal+-":      {1, 0, 0, "0A.is.legal"},
		"1.0.0--1":                 {1, 0, 0, "-1"},
		"18446744073709551615.0.0": {1<<64 - 1, 0, 0, ""},
	} {
		if got, ok := ParseVersion(text); !ok || got != want {
			t.Errorf("%s: got %+v, %v", text, got, ok)
		}
	}
	for _, text := range []string{
		"", "1", "1.2", "1.2.3.4", "v1.2.3", "01.2.3", "1.02.3", "1.2.03", "1.2.3-", "1.2.3-01", "1.2.3-a..b", "1.2.3+",
		"1.2.3+a..b", "1.2.3-ü", " 1.2.3", "1.2.3 ", "-1.2.3", "1.2.3-a_b", "1.2.3+a+b", "18446744073709551616.0.0",
		"1..3", "1.2.", ".2.3", "builtin", "1.2.3\x00",
	} {
		if got, ok := ParseVersion(text); ok || got != (Version{}) {
			t.Errorf("%q: got %+v, %v; want it refused", text, got, ok)
		}
	}
}

// TestCompareFollowsTheSpecification uses the example order of semver.org, item 11, with more around it.
func TestCompareFollowsTheSpecification(t *testing.T) {
	ascending := []string{
		"0.0.0", "0.9.9", "1.0.0-0", "1.0.0-2", "1.0.0-10", "1.0.0-99999999999999999999", "1.0.0--", "1.0.0-alpha", "1.0.0-alpha.1",
		"1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1-a", "1.0.1", "1.2.0", "1.10.0", "2.0.0",
	}
	for i, low := range ascending {
		for j, high := range ascending {
			v, w := mustVersion(t, low), mustVersion(t, high)
			want := 0
			if i != j {
				want = order(i < j)
			}
			if got := v.Compare(w); got != want {
				t.Errorf("%s against %s: got %d, want %d", low, high, got, want)
			}
			if v.Pre == "" && w.AtLeast(v.Major, v.Minor, v.Patch) != (j >= i) {
				t.Errorf("%s at least %s: want %v", high, low, j >= i)
			}
		}
	}
}

func TestParseLooseVersion(t *testing.T) {
	for text, want := range map[string]Version{
		"15": {15, 0, 0, ""}, "18.6": {18, 6, 0, ""}, "17.4.1": {17, 4, 1, ""}, "10.0.19045.3803": {10, 0, 19045, ""},
		"013.1": {13, 1, 0, ""}, "14 (API 34)": {14, 0, 0, ""}, "12-beta": {12, 0, 0, ""},
	} {
		if got, ok := ParseLooseVersion(text); !ok || got != want {
			t.Errorf("%q: got %+v, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "R", "15R", "15.", ".5", "1..2", " 15", "99999999999999999999999", "UpsideDownCake"} {
		if got, ok := ParseLooseVersion(text); ok {
			t.Errorf("%q: got %+v, want it refused", text, got)
		}
	}
}

// FuzzParseVersion compares with another library's strict parser and its order.
func FuzzParseVersion(f *testing.F) {
	f.Add("1.2.3", "1.2.3-rc.1+b")
	f.Add("01.0.0", "1.0.0-00")
	f.Fuzz(func(t *testing.T, a, b string) {
		v, ok := ParseVersion(a)
		peer, err := semver.StrictNewVersion(a)
		tooLarge := strings.Contains(a, "9999999999") || len(a) > 200 // where the two draw different limits
		if !tooLarge && ok != (err == nil) {
			t.Fatalf("%q: %v, peer %v", a, ok, err)
		}
		w, both := ParseVersion(b)
		if !ok || !both {
			return
		}
		if v.Compare(w) != -w.Compare(v) {
			t.Fatalf("%q and %q: order is not antisymmetric", a, b)
		}
		peerB, errB := semver.StrictNewVersion(b)
		if err == nil && errB == nil && !hugeIdentifier(a+b) && peer.Compare(peerB) != v.Compare(w) {
			t.Fatalf("%q and %q: got %d, peer %d", a, b, v.Compare(w), peer.Compare(peerB))
		}
	})
}

// hugeIdentifier reports whether s has a run of digits that the peer, unlike the specification, compares as text.
func hugeIdentifier(s string) bool {
	run := 0
	for i := range len(s) {
		if run++; !isDigit(s[i]) {
			run = 0
		}
		if run > 18 {
			return true
		}
	}
	return false
}

func TestGenerations(t *testing.T) {
	for _, test := range []struct {
		plugin                               string
		manifest, metadata, channel, builtin bool
	}{
		{"4.61.11", false, false, false, false},
		{"5.9.5", false, false, false, false},
		{"5.10.0", true, false, false, false},
		{"5.33.9", true, false, false, false},
		{"5.34.0", true, false, true, false},
		{"5.35.0", true, true, true, false},
		{"6.1.99", false, false, false, false},
		{"6.2.0", false, false, false, true},
		{"6.24.9", false, false, false, true},
		{"6.25.0", true, false, false, true},
		{"6.34.0", true, false, true, true},
		{"6.35.0", true, true, true, true},
		{"7.0.34", false, false, false, true},
		{"7.0.35-rc.1", false, false, false, true},
		{"7.0.35", true, false, false, true},
		{"7.34.0", true, false, true, true},
		{"7.35.0", true, true, true, true},
		{"8.0.0", true, false, true, true},
		{"8.34.9", true, false, true, true},
		{"8.35.0", true, true, true, true},
		{"8.51.23", true, true, true, true},
		{"9.0.0", false, false, false, false},
		{"10.0.0", false, false, false, false},
	} {
		v := mustVersion(t, test.plugin)
		if SupportsManifest(v) != test.manifest || SupportsMetadata(v) != test.metadata ||
			StoresChannelOnDevice(v) != test.channel || SupportsBuiltin(v) != test.builtin {
			t.Errorf("%s: manifest %v, metadata %v, channel %v, builtin %v", test.plugin,
				SupportsManifest(v), SupportsMetadata(v), StoresChannelOnDevice(v), SupportsBuiltin(v))
		}
	}
	if !StoresChannelOnDevice(Version{}) {
		t.Error("a channel call without plugin_version counts as a plugin that keeps its channel")
	}
}

func mustVersion(tb testing.TB, s string) Version {
	tb.Helper()
	v, ok := ParseVersion(s)
	if !ok {
		tb.Fatalf("%q is not a version", s)
	}
	return v
}
