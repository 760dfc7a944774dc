package resolve

import (
	"encoding/hex"
	"math"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/palier-ota/palier/internal/rollout"
)

// million is how many devices the properties of bucketing are checked on.
func million() int {
	if testing.Short() {
		return 100_000
	}
	return 1_000_000
}

// id writes a random device id into buf and returns it; a string per device would be most of the test's time.
func (x *splitMix) id(buf *[36]byte) string {
	a, b := x.next(), x.next()
	var raw [16]byte
	for j := range 8 {
		raw[j], raw[8+j] = byte(a>>(8*j)), byte(b>>(8*j))
	}
	hex.Encode(buf[0:8], raw[0:4])
	hex.Encode(buf[9:13], raw[4:6])
	hex.Encode(buf[14:18], raw[6:8])
	hex.Encode(buf[19:23], raw[8:10])
	hex.Encode(buf[24:36], raw[10:16])
	buf[8], buf[13], buf[18], buf[23] = '-', '-', '-', '-'
	return string(buf[:])
}

func TestPositionMatchesItsDefinition(t *testing.T) {
	x := splitMix(5)
	for n := range 300 { // ids of every length up to far beyond the stack buffer
		id := strings.Repeat("x", n)
		var salt rollout.Salt
		for i := range salt {
			salt[i] = byte(x.next())
		}
		if got, want := int64(Position(salt, id)), refPosition(salt, id); got != want {
			t.Fatalf("id of %d bytes: got %d, want %d", n, got, want)
		}
	}
}

func TestScaleCoversThePositions(t *testing.T) {
	for hash, want := range map[uint64]uint32{0: 0, 1<<32 - 1: 0, 1 << 63: 500_000_000, math.MaxUint64: 999_999_999} {
		if got := scale(hash); got != want {
			t.Errorf("%x: got %d, want %d", hash, got, want)
		}
	}
}

// TestPositionsAreUniform counts positions in 1 000 cells. With 999 degrees of freedom the statistic exceeds 1 180 once
// in 20 000 uniform samples; a bias of a tenth of a per cent in one cell in ten would exceed it.
func TestPositionsAreUniform(t *testing.T) {
	const cells = 1_000
	n := million()
	var count [cells]int
	x := splitMix(11)
	var buf [36]byte
	for range n {
		count[Position(testSalt, x.id(&buf))/(1_000_000_000/cells)]++
	}
	expected := float64(n) / cells
	chi2 := 0.0
	for _, c := range count {
		chi2 += (float64(c) - expected) * (float64(c) - expected) / expected
	}
	if chi2 > 1_180 || chi2 < 830 { // too even is not random either
		t.Errorf("chi-square over %d cells: %.1f", cells, chi2)
	}
}

// TestReleasesAreIndependent: of the devices in the first 5 % of one release, 5 % ± 0.2 points are in the first 5 % of
// the next. Always on a million devices: the tolerance is two standard deviations of that share there.
func TestReleasesAreIndependent(t *testing.T) {
	const n, below = 1_000_000, uint32(5 * rollout.OnePercent)
	first, second, both := 0, 0, 0
	x := splitMix(13)
	var buf [36]byte
	for range n {
		id := x.id(&buf)
		inFirst, inSecond := Position(testSalt, id) < below, Position(otherSalt, id) < below
		if inFirst {
			first++
		}
		if inSecond {
			second++
		}
		if inFirst && inSecond {
			both++
		}
	}
	for name, share := range map[string]float64{
		"first": float64(first) / n, "second": float64(second) / n, "second among first": float64(both) / float64(first),
	} {
		if math.Abs(share-0.05) > 0.002 {
			t.Errorf("%s: %.3f %%, want 5 %%", name, 100*share)
		}
	}
	t.Logf("of %d devices in the first 5 %%, %.3f %% are in the next release's", first, 100*float64(both)/float64(first))
}

// TestMonotone: whoever is in at one percentage is in at every larger one, through the whole decision.
func TestMonotone(t *testing.T) {
	percents := []rollout.Percent{0, 1, rollout.OnePercent, 50_000_000, 333_333_333, 500_000_000, 999_999_999, rollout.Everyone}
	snapshots := make([]*Snapshot, len(percents))
	for i, p := range percents {
		snapshots[i] = mustCompile(t, NewSpec(withRollout(appState(), runningRollout(rollout.Phase{Percent: p}))))
	}
	x := splitMix(17)
	var buf [36]byte
	admitted := make([]int, len(percents))
	for range million() {
		c := Check{DeviceID: x.id(&buf), Platform: Android, VersionName: "1.0.0", IsProd: true}
		was := false
		for i, s := range snapshots {
			st, ok := s.Standing(&c, nil)
			if !ok || was && !st.Admitted {
				t.Fatalf("%s was admitted below %s %% and is not at it", c.DeviceID, percents[i])
			}
			was = st.Admitted
			if was {
				admitted[i]++
			}
		}
	}
	if admitted[0] != 0 || admitted[len(admitted)-1] != million() {
		t.Errorf("admitted at 0 %%: %d, at 100 %%: %d", admitted[0], admitted[len(admitted)-1])
	}
}

func TestBoundaryIsExact(t *testing.T) {
	id := deviceAt(t, testSalt, 20, 80)
	at := rollout.Percent(Position(testSalt, id))
	for percent, want := range map[rollout.Percent]bool{at - 1: false, at: false, at + 1: true} {
		s := mustCompile(t, NewSpec(withRollout(appState(), runningRollout(rollout.Phase{Percent: percent}))))
		c := checkOf(id)
		d := s.Resolve(&c, &Facts{})
		arm := rollout.ArmControl
		if want {
			arm = rollout.ArmCandidate
		}
		if d.Admitted != want || d.Arm != arm {
			t.Errorf("position %d below %d: admitted %v, arm %s", at, percent, d.Admitted, d.Arm)
		}
	}
}

func TestFingerprintIgnoresCase(t *testing.T) {
	const lower = "0f673663-459a-44c0-a7f5-613f2a4af3ab"
	if got := Fingerprint(strings.ToUpper(lower)); got != Fingerprint(lower) || got != xxhash.Sum64String(lower) {
		t.Errorf("upper and lower case differ, or it is not XXH64: %x", got)
	}
}

func TestOwned(t *testing.T) {
	ids := deviceIDs(300)
	owned := WithOwned(nil, ids[:100]...)
	before := string(owned)
	more := WithOwned(owned, ids[100:200]...)
	if string(owned) != before {
		t.Fatal("the bitmap that was passed in has changed")
	}
	strangers := 0
	for i, id := range ids {
		switch {
		case i < 200 && !MayOwn(more, strings.ToUpper(id)):
			t.Errorf("device %d is missing", i)
		case i >= 200 && MayOwn(more, id):
			strangers++
		}
	}
	if strangers > 5 { // 200 of 65 536 bits are set: 0.3 expected
		t.Errorf("%d of 100 strangers may own a channel", strangers)
	}
	if WithOwned(nil) != nil || MayOwn(nil, ids[0]) {
		t.Error("no device, yet a bitmap")
	}
}
