package clock_test

import (
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/clock"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestAnchor(t *testing.T) {
	a := clock.Anchor{Real: noon, Clock: noon.Add(24 * time.Hour), Scale: 3600}
	for _, c := range []struct {
		name string
		real time.Time
		want time.Time
	}{
		{"at the anchor", noon, a.Clock},
		{"a second later", noon.Add(time.Second), a.Clock.Add(time.Hour)},
		{"the machine's clock was set back", noon.Add(-time.Hour), a.Clock},
		{"in another zone", noon.In(time.FixedZone("east", 7200)), a.Clock},
	} {
		if got := a.At(c.real); !got.Equal(c.want) {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestClockDoesNotOverflow(t *testing.T) {
	long := clock.Anchor{Real: noon.Add(-400 * 24 * time.Hour), Clock: noon, Scale: clock.MaxScale}
	if at := long.At(noon); at.Before(noon) || at.Year() > noon.Year()+101 {
		t.Errorf("after 400 days at a million times the speed the clock says %s", at)
	}
}

func TestClockNeverRunsBackwards(t *testing.T) {
	for _, real := range []time.Duration{-time.Minute, 0, 50 * time.Millisecond} { // the anchor is past, now, to come
		c, err := clock.New(clock.Anchor{Real: time.Now().Add(real), Clock: noon, Scale: clock.MaxScale})
		if err != nil {
			t.Fatal(err)
		}
		first := c.Now()
		if first.Before(noon) {
			t.Errorf("before its anchor: %s", first)
		}
		deadline := time.Now().Add(10 * time.Second)
		for last := first; !last.After(first.Add(time.Hour)); {
			now := c.Now()
			if now.Before(last) || time.Now().After(deadline) {
				t.Fatalf("%s after %s", now, last)
			}
			last = now
		}
	}
}

func TestTextOfAClockMakesTheSameClock(t *testing.T) {
	for _, text := range []string{
		"2026-11-22T12:00:00Z 2026-11-29T00:00:00Z 3600",
		"2026-11-22T12:00:00.000000001Z 2026-11-29T00:00:00.5Z 1",
		"2026-11-22T12:00:00Z 2026-11-22T12:00:00Z 7200.5",
	} {
		c, err := clock.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if c.String() != text {
			t.Errorf("%q became %q", text, c)
		}
	}
	anchor := clock.Anchor{Real: time.Now().Add(-time.Minute), Clock: noon, Scale: 10}
	mine, err := clock.New(anchor)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := clock.Parse(mine.String())
	if err != nil {
		t.Fatal(err)
	}
	before, between, after := mine.Now(), theirs.Now(), mine.Now()
	const reading = 10 * time.Millisecond // both read the machine's clock twice
	if between.Before(before.Add(-reading)) || between.After(after.Add(reading)) {
		t.Errorf("%s is not between %s and %s", between, before, after)
	}
	if before.Before(noon.Add(10 * time.Minute)) {
		t.Errorf("a minute after its anchor it shows %s", before)
	}
}

func TestNoTextIsTheRealTime(t *testing.T) {
	c, err := clock.Parse(" ")
	if err != nil {
		t.Fatal(err)
	}
	before, now, after := time.Now(), c.Now(), time.Now()
	if now.Before(before) || now.After(after) {
		t.Errorf("%s, the real time is %s", now, after)
	}
	if c.String() != "" || c.Scale() != 1 || c.Ahead() != 0 || c.Real(time.Hour, 0) != time.Hour {
		t.Errorf("%q, scale %g, %s ahead", c, c.Scale(), c.Ahead())
	}
}

func TestWhatIsNoClock(t *testing.T) {
	const at = "2026-11-22T12:00:00Z"
	for text, want := range map[string]string{
		"now":                    "want REAL CLOCK SCALE",
		at + " " + at:            "want REAL CLOCK SCALE",
		at + " " + at + " 1 1":   "want REAL CLOCK SCALE",
		"noon " + at + " 2":      "the real instant",
		at + " noon 2":           "the clock's instant",
		at + " " + at + " fast":  "the scale",
		at + " " + at + " 0.5":   "want 1 to 1000000",
		at + " " + at + " NaN":   "want 1 to 1000000",
		at + " " + at + " 2e6":   "want 1 to 1000000",
		at + " " + at + " -3600": "want 1 to 1000000",
	} {
		if _, err := clock.Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestAgo(t *testing.T) {
	before := time.Now().Add(-time.Hour)
	if ago := clock.Real().Ago(time.Hour); ago.Before(before) || ago.Sub(before) > time.Minute {
		t.Errorf("an hour ago was %s, the real time was %s", ago, before)
	}
	c, err := clock.New(clock.Anchor{Real: time.Now().Add(-time.Hour), Clock: noon, Scale: 60})
	if err != nil {
		t.Fatal(err)
	}
	for ago, want := range map[time.Duration]time.Time{
		0: noon.Add(60 * time.Hour), time.Second: noon.Add(60*time.Hour - time.Minute), 59 * time.Minute: noon.Add(time.Hour),
		2 * time.Hour: noon, 1 << 62: noon,
	} {
		if got := c.Ago(ago); got.Before(want) || got.Sub(want) > time.Hour {
			t.Errorf("%s ago it was %s, want %s", ago, got, want)
		}
	}
}

func TestRealDurations(t *testing.T) {
	c, err := clock.New(clock.Anchor{Real: noon, Clock: noon.Add(time.Hour), Scale: 3600})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Real(time.Hour, 0); got != time.Second {
		t.Errorf("an hour takes %s", got)
	}
	if got := c.Real(time.Minute, 250*time.Millisecond); got != 250*time.Millisecond {
		t.Errorf("at least a quarter of a second, not %s", got)
	}
	if c.Ahead() != time.Hour || c.Scale() != 3600 {
		t.Errorf("%s ahead, scale %g", c.Ahead(), c.Scale())
	}
}
