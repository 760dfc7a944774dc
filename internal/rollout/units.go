package rollout

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Percent is a share of devices in units of 10⁻⁷ percent, so that 100 % is 10⁹: the number of positions of the
// bucketing hash. A device at position p is inside a Percent q iff p < q, with no rounding anywhere. In documents it
// is a decimal number of percent with at most seven places: 5, 12.5, 0.0000001.
type Percent int64

const (
	// OnePercent is 1 % in the units of Percent.
	OnePercent Percent = 10_000_000
	// Everyone is 100 %: the whole position space.
	Everyone Percent = 100 * OnePercent
)

// Share returns p as a fraction of one, for statistics only; decisions use the integer.
func (p Percent) Share() float64 { return float64(p) / float64(Everyone) }

// String returns the shortest decimal that reads back as p, without a percent sign.
func (p Percent) String() string {
	sign := ""
	if p < 0 {
		sign, p = "-", -p
	}
	s := sign + strconv.FormatInt(int64(p/OnePercent), 10)
	if frac := p % OnePercent; frac != 0 {
		s += "." + strings.TrimRight(fmt.Sprintf("%07d", int64(frac)), "0")
	}
	return s
}

// ParsePercent reads a decimal number of percent, such as "12.5". It fails on anything else, on more than seven
// decimals and outside 0…100.
func ParsePercent(s string) (Percent, error) {
	whole, frac, dotted := strings.Cut(strings.TrimPrefix(s, "-"), ".")
	if whole == "" || dotted && frac == "" || strings.Trim(whole+frac, "0123456789") != "" {
		return 0, fmt.Errorf("%s is not a number of percent such as 5 or 12.5", strconv.Quote(clip(s)))
	}
	if s[0] == '-' || len(whole) > 3 {
		return 0, outsidePercent(s)
	}
	if len(frac) > 7 {
		return 0, fmt.Errorf("%s has more than 7 decimals", clip(s))
	}
	n, _ := strconv.ParseInt(whole+frac+strings.Repeat("0", 7-len(frac)), 10, 64)
	if Percent(n) > Everyone {
		return 0, outsidePercent(s)
	}
	return Percent(n), nil
}

func outsidePercent(s string) error { return fmt.Errorf("%s is not from 0 to 100", clip(s)) }

// MarshalJSON writes p as a JSON number.
func (p Percent) MarshalJSON() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalJSON reads a JSON number of percent.
func (p *Percent) UnmarshalJSON(b []byte) error {
	if b[0] == '"' || b[0] == '[' || b[0] == '{' {
		return fmt.Errorf("%s is not a number", clip(string(b)))
	}
	q, err := ParsePercent(string(b))
	if err != nil {
		return err
	}
	*p = q
	return nil
}

// Duration is a time.Duration written the way people write holds: "24h", "90m", "3d". A day is 24 hours.
type Duration time.Duration

// Std returns d as a time.Duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String returns the shortest form that ParseDuration reads back.
func (d Duration) String() string {
	if d == 0 {
		return "0"
	}
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// ParseDuration reads "24h", "1h30m", "3d", "2d12h" or "0". It refuses negative durations.
func ParseDuration(s string) (Duration, error) {
	text, days := s, time.Duration(0)
	if head, tail, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(head, 10, 16)
		if err != nil || n > maxDays {
			return 0, durationError(s)
		}
		text, days = tail, time.Duration(n)*24*time.Hour
		if text == "" {
			return Duration(days), nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || days+d < 0 { // a negative sum has overflowed
		return 0, durationError(s)
	}
	return Duration(days + d), nil
}

const maxDays = 3650

func durationError(s string) error {
	return fmt.Errorf("%s is not a duration such as 24h, 90m or 3d", strconv.Quote(clip(s)))
}

// MarshalJSON writes d as a string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads the string form.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf(`%s is not a duration; write it with its unit and in quotes, such as "24h"`, clip(string(b)))
	}
	v, err := ParseDuration(s)
	if err != nil {
		return err
	}
	*d = v
	return nil
}
