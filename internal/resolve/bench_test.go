package resolve

import (
	"encoding/hex"
	"strconv"
	"testing"
	"time"

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

// floor returns the least that any correct program would do for such a check: look the rule up, read the version it is
// about, hash, compare. It reports whether the i-th device is inside.
func floor() func(i int) bool {
	type rule struct {
		least Version
		below uint32
		salt  rollout.Salt
	}
	rules := map[string]rule{}
	for i := range 20 {
		rules["channel-"+strconv.Itoa(i)] = rule{Version{Major: 1}, 200_000_000, testSalt}
	}
	ids := deviceIDs(1024)
	native := []string{"1.2.3", "1.10.0", "0.9.9", "2.0.1"}
	return func(i int) bool {
		r := rules["channel-7"]
		v, ok := ParseVersion(native[i&3])
		var buf [64]byte
		n := copy(buf[:], r.salt[:])
		n += copy(buf[n:], ids[i&1023])
		at := uint32((xxhash.Sum64(buf[:n]) >> 32) * 1_000_000_000 >> 32)
		return ok && v.Compare(r.least) >= 0 && at < r.below
	}
}

func BenchmarkFloor(b *testing.B) {
	inside, in := floor(), 0
	b.ReportAllocs()
	for i := range b.N {
		if inside(i) {
			in++
		}
	}
	if b.N > 10_000 && in == 0 {
		b.Fatal("nobody inside")
	}
}

// question is a set of like checks and what they are answered.
type question struct {
	name   string
	facts  *Facts
	want   Reason
	checks []Check
}

// questions are asked by devices inside and outside of the rollout alike: by those that run what they should, and by
// those that do not.
func questions(s *Snapshot) []question {
	list := []question{{name: "up_to_date", want: NoNewVersion}, {name: "offer", facts: &Facts{}, want: Offer}, {name: "need_facts", want: NeedFacts}}
	for i := range list {
		for _, id := range deviceIDs(1024) {
			c := checkOf(id)
			if d := s.Resolve(&c, &Facts{}); list[i].want == NoNewVersion {
				c.VersionName = d.Bundle.Version
			}
			list[i].checks = append(list[i].checks, c)
		}
	}
	return list
}

func BenchmarkResolve(b *testing.B) {
	s := benchSnapshot(b)
	for _, q := range questions(s) {
		b.Run(q.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				if d := s.Resolve(&q.checks[i&1023], q.facts); d.Reason != q.want {
					b.Fatal(d.Reason)
				}
			}
		})
	}
}

// BenchmarkAgainstFloor alternates slices of both so that a busy machine slows them alike, and reports the ratio of the
// fastest slices. It must stay at or below 2.
func BenchmarkAgainstFloor(b *testing.B) {
	s := benchSnapshot(b)
	inside := floor()
	for _, q := range questions(s) {
		b.Run(q.name, func(b *testing.B) {
			const slice = 5_000
			least, own := time.Hour, time.Hour
			in := 0
			for range b.N {
				start := time.Now()
				for i := range slice {
					if inside(i) {
						in++
					}
				}
				between := time.Now()
				for i := range slice {
					if d := s.Resolve(&q.checks[i&1023], q.facts); d.Reason != q.want {
						b.Fatal(d.Reason)
					}
				}
				least, own = min(least, between.Sub(start)), min(own, time.Since(between))
			}
			if in == 0 {
				b.Fatal("nobody inside")
			}
			b.ReportMetric(float64(least.Nanoseconds())/slice, "floor-ns")
			b.ReportMetric(float64(own.Nanoseconds())/slice, "own-ns")
			b.ReportMetric(float64(own)/float64(least), "x-floor")
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
