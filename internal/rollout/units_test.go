package rollout

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

func FuzzPercentRoundTrip(f *testing.F) {
	for _, n := range []int64{0, 1, 10_000_000, 125_000_000, 1_000_000_000, 999_999_999, 50_000_001, 1_000_000_001} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, n int64) {
		if n < 0 || Percent(n) > Everyone {
			if n > math.MinInt64 {
				if _, err := ParsePercent(Percent(n).String()); err == nil {
					t.Errorf("%s is outside 0…100 and was read", Percent(n))
				}
			}
			return
		}
		back, err := ParsePercent(Percent(n).String())
		if err != nil || back != Percent(n) {
			t.Errorf("%d: %s reads back as %d, %v", n, Percent(n), back, err)
		}
	})
}

func FuzzParsePercent(f *testing.F) {
	for _, s := range []string{"5", "12.5", "0.0000001", "100", "100.0", "007", "5.", ".5", "-1", "+1", "1e1", "0x5", "1 ", "٣", "100.0000001", "", "1.2.3", "1.23456789"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePercent(s)
		if err != nil {
			return
		}
		if p < 0 || p > Everyone || strings.Trim(s, "0123456789.") != "" {
			t.Errorf("%q was read as %d", s, p)
		}
		if again, err := ParsePercent(p.String()); err != nil || again != p {
			t.Errorf("%q is %s, which reads back as %s, %v", s, p, again, err)
		}
	})
}

func FuzzDurationRoundTrip(f *testing.F) {
	for _, d := range []time.Duration{
		0, 1, time.Second, time.Minute, time.Hour, 10 * time.Minute, 20 * time.Hour, 90 * time.Minute, 48 * time.Hour,
		time.Hour + time.Second, 100*time.Hour + 10*time.Second, 1500 * time.Millisecond, math.MaxInt64,
	} {
		f.Add(int64(d))
	}
	f.Fuzz(func(t *testing.T, n int64) {
		back, err := ParseDuration(Duration(n).String())
		if n < 0 {
			if err == nil {
				t.Errorf("negative %s was read", Duration(n))
			}
			return
		}
		if err != nil || back != Duration(n) {
			t.Errorf("%s reads back as %s, %v", Duration(n), back, err)
		}
	})
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"24h", "1h30m", "3d", "2d12h", "0", "0d", "", "d", "-1h", "-1d", "+1d", "1d-1h", "3651d", "3650d2562047h", "1.5h", "1h2d", "24"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			return
		}
		if d < 0 {
			t.Errorf("%q was read as the negative %s", s, d)
		}
		if again, err := ParseDuration(d.String()); err != nil || again != d {
			t.Errorf("%q is %s, which reads back as %s, %v", s, d, again, err)
		}
	})
}

func TestUnitsAsWritten(t *testing.T) {
	for text, want := range map[string]Percent{"5": 5 * OnePercent, "12.5": 125_000_000, "0.0000001": 1, "100": Everyone, "100.0": Everyone} {
		if got, err := ParsePercent(text); err != nil || got != want {
			t.Errorf("percent %q: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "5.", ".5", "-1", "+1", "1e1", "100.0000001", "101", "0.00000001", "5%"} {
		if got, err := ParsePercent(text); err == nil {
			t.Errorf("percent %q was read as %s", text, got)
		}
	}
	for text, want := range map[string]time.Duration{
		"24h": 24 * time.Hour, "1h30m": 90 * time.Minute, "3d": 72 * time.Hour, "2d12h": 60 * time.Hour, "0": 0, "0d": 0, "3650d": 87_600 * time.Hour,
	} {
		if got, err := ParseDuration(text); err != nil || got.Std() != want {
			t.Errorf("duration %q: %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "24", "-1h", "-1d", "+1d", "1d-1h", "3651d", "3650d2562047h", "1h2d"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("duration %q was read as %s", text, got)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0", time.Hour: "1h", 90 * time.Minute: "1h30m", 10 * time.Minute: "10m", 20 * time.Hour: "20h", time.Hour + time.Second: "1h0m1s",
	} {
		if got := Duration(d).String(); got != want {
			t.Errorf("%v is written %q, want %q", d, got, want)
		}
	}
}

func TestUnitsSayWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		`{"holdback":"fifty"}`:                  `"fifty" is not a number`,
		`{"holdback":[5]}`:                      `[5] is not a number`,
		`{"holdback":1e1}`:                      `"1e1" is not a number of percent such as 5 or 12.5`,
		`{"holdback":150}`:                      `150 is not from 0 to 100`,
		`{"holdback":1000}`:                     `1000 is not from 0 to 100`,
		`{"holdback":-1}`:                       `-1 is not from 0 to 100`,
		`{"holdback":0.00000001}`:               `0.00000001 has more than 7 decimals`,
		`{"phases":[{"hold":{"min":"soon"}}]}`:  `"soon" is not a duration such as 24h, 90m or 3d`,
		`{"phases":[{"hold":{"min":24}}]}`:      `24 is not a duration; write it with its unit and in quotes, such as "24h"`,
		`{"phases":[{"hold":{"min":["24h"]}}]}`: `["24h"] is not a duration; write it with its unit and in quotes, such as "24h"`,
	} {
		var plan Plan
		if err := json.Unmarshal([]byte(text), &plan); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestPlanSurvivesJSON(t *testing.T) {
	const document = `{"phases":[{"name":"tests","percent":12.5,"hold":{"min":"24h","max":"2d"},"min_devices":200}],"holdback":1}`
	var plan, back Plan
	if err := json.Unmarshal([]byte(document), &plan); err != nil {
		t.Fatal(err)
	}
	if got := plan.Phases[0]; got.Percent != 125_000_000 || got.Hold.Min.Std() != 24*time.Hour || got.Hold.Max.Std() != 48*time.Hour || plan.Holdback != OnePercent {
		t.Errorf("read as %+v", plan)
	}
	text, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &back); err != nil || len(back.Phases) != 1 || back.Phases[0].Hold != plan.Phases[0].Hold {
		t.Errorf("%s read back as %+v, %v", text, back, err)
	}
	for _, bad := range []string{`{"holdback":"1"}`, `{"holdback":1e1}`, `{"phases":[{"hold":{"min":24}}]}`, `{"phases":[{"hold":{"min":"soon"}}]}`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func TestSaltAsHex(t *testing.T) {
	salt := Salt{0xab, 1}
	text, err := json.Marshal(salt)
	if err != nil || string(text) != `"ab010000000000000000000000000000"` {
		t.Fatalf("written %s, %v", text, err)
	}
	var back Salt
	if err := json.Unmarshal(text, &back); err != nil || back != salt {
		t.Errorf("read back %v, %v", back, err)
	}
	for _, bad := range []string{`"ab"`, `""`, `7`, `"zz010000000000000000000000000000"`, `"ab01000000000000000000000000000000"`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}
