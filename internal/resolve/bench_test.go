package resolve

import (
	"encoding/hex"
	"strconv"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/palier-ota/palier/internal/rollout"
)

// benchSnapshot has one running rollout with one targeting rule and 20 %.
func benchSnapshot(tb testing.TB) *Snapshot {
	tb.Helper()
	s := appState()
	s.Segments["recent"] = rollout.Segment{Name: "recent", When: &rollout.Rule{VersionBuild: ">=1.0.0"}}
	s.Rollouts["r1"] = runningRollout(rollout.Phase{Percent: 20 * rollout.OnePercent, Segments: []string{"recent"}})
	return mustCompile(tb, NewSpec(s))
}

// BenchmarkFloor is the least that any correct program would do for such a check: look the rule up, read the version it
// is about, hash, compare.
func BenchmarkFloor(b *testing.B) {
	rules := map[string]struct {
		least Version
		below uint32
		salt  rollout.Salt
	}{}
	for i := range 20 {
		rules["channel-"+strconv.Itoa(i)] = struct {
			least Version
			below uint32
			salt  rollout.Salt
		}{Version{Major: 1}, 200_000_000, testSalt}
	}
	ids := deviceIDs(1024)
	native := []string{"1.2.3", "1.10.0", "0.9.9", "2.0.1"}
	in := 0
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		r := rules["channel-7"]
		v, ok := ParseVersion(native[i&3])
		var buf [64]byte
		n := copy(buf[:], r.salt[:])
		n += copy(buf[n:], ids[i&1023])
		at := uint32((xxhash.Sum64(buf[:n]) >> 32) * 1_000_000_000 >> 32)
		if ok && v.Compare(r.least) >= 0 && at < r.below {
			in++
		}
	}
	if b.N > 10_000 && in == 0 {
		b.Fatal("nobody inside")
	}
}

// BenchmarkResolve decides for devices inside and outside of the rollout alike: "up to date" for those that run what
// they should, an offer for those that do not.
func BenchmarkResolve(b *testing.B) {
	s := benchSnapshot(b)
	ids := deviceIDs(1024)
	for _, test := range []struct {
		name  string
		facts *Facts
		setUp func(*Check)
		want  Reason
	}{
		{"up_to_date", nil, func(c *Check) {
			c.VersionName = "1.0.0"
			if d := s.Resolve(c, &Facts{}); d.Reason == Offer {
				c.VersionName = d.Bundle.Version
			}
		}, NoNewVersion},
		{"offer", &Facts{}, func(c *Check) { c.VersionName = "0.9.0" }, Offer},
		{"need_facts", nil, func(c *Check) { c.VersionName = "0.9.0" }, NeedFacts},
	} {
		checks := make([]Check, len(ids))
		for i, id := range ids {
			checks[i] = checkOf(id)
			test.setUp(&checks[i])
		}
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				if d := s.Resolve(&checks[i&1023], test.facts); d.Reason != test.want {
					b.Fatal(d.Reason)
				}
			}
		})
	}
}

func BenchmarkPosition(b *testing.B) {
	ids := deviceIDs(1024)
	b.ReportAllocs()
	var sum uint32
	for i := range b.N {
		sum += Position(testSalt, ids[i&1023])
	}
	_ = sum
}

func BenchmarkParseVersion(b *testing.B) {
	b.ReportAllocs()
	for range b.N {
		if _, ok := ParseVersion("10.20.30-beta.1+build"); !ok {
			b.Fatal("refused")
		}
	}
}

func BenchmarkExplain(b *testing.B) {
	s := benchSnapshot(b)
	c := checkOf(deviceIDs(1)[0])
	b.ReportAllocs()
	for range b.N {
		s.Explain(&c, &Facts{})
	}
}

// deviceIDs returns n lower-case UUIDs, the same every time.
func deviceIDs(n int) []string {
	ids := make([]string, n)
	x := splitMix(1)
	for i := range ids {
		ids[i] = x.uuid()
	}
	return ids
}

// splitMix is Steele, Lea and Flood's SplitMix64: a small generator whose stream never changes between Go releases.
type splitMix uint64

func (x *splitMix) next() uint64 {
	*x += 0x9e3779b97f4a7c15
	z := uint64(*x)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a number in [0, n).
func (x *splitMix) below(n int) int { return int(x.next() % uint64(n)) }

func (x *splitMix) chance(percent int) bool { return x.below(100) < percent }

func pick[T any](x *splitMix, list ...T) T { return list[x.below(len(list))] }

// uuid returns a lower-case device id.
func (x *splitMix) uuid() string {
	var raw [16]byte
	for i := range 2 {
		v := x.next()
		for j := range 8 {
			raw[8*i+j] = byte(v >> (8 * j))
		}
	}
	h := hex.EncodeToString(raw[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
