package blob

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestCheckKey(t *testing.T) {
	segment := strings.Repeat("s", MaxSegmentBytes)
	long := strings.Repeat(segment+"/", 5) + strings.Repeat("s", MaxKeyBytes-5*(MaxSegmentBytes+1))
	for _, key := range []string{"a", "bundles/com.example.shop/1.4.0+7.zip", "a/.b/..c/d..", "~x=@_-", segment, long} {
		if err := CheckKey(key); err != nil {
			t.Errorf("%.60q: %v", key, err)
		}
	}
	for _, key := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a/..",
		"a b", "a\\b", "a\x00", "a\n", "a%2fb", "a?b", "a#b", "é", "a\xff", "a:b", "a*", segment + "s", long + "s",
	} {
		if err := CheckKey(key); !errors.Is(err, ErrInvalid) {
			t.Errorf("%.60q: %v, want ErrInvalid", key, err)
		}
	}
}

// TestCheckedKeyIsSafe states what engines rely on, for any text at all.
func TestCheckedKeyIsSafe(t *testing.T) {
	alphabet := rapid.SampledFrom([]rune("ab.-_+=@~//..% \\\x00é"))
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringOf(alphabet).Draw(t, "key")
		if CheckKey(key) != nil {
			return
		}
		for _, segment := range strings.Split(key, "/") {
			if segment == "" || segment == "." || segment == ".." || strings.ContainsAny(segment, "% \\\x00é") {
				t.Fatalf("key %q was taken", key)
			}
		}
	})
}

func TestCheckUpload(t *testing.T) {
	const zip = "application/zip"
	for _, c := range []struct {
		name     string
		key      string
		size     int64
		kind     string
		validFor time.Duration
		want     error
	}{
		{"least", "a", 1, "x", MinValid, nil},
		{"most", "a", MaxUploadBytes, strings.Repeat("x", MaxTypeBytes), MaxValid, nil},
		{"parameters", "a", 1, `text/plain; charset="utf-8"`, time.Minute, nil},
		{"key", "a/../b", 1, zip, time.Minute, ErrInvalid},
		{"empty", "a", 0, zip, time.Minute, ErrInvalid},
		{"negative", "a", -1, zip, time.Minute, ErrInvalid},
		{"too large", "a", MaxUploadBytes + 1, zip, time.Minute, ErrTooLarge},
		{"no type", "a", 1, "", time.Minute, ErrInvalid},
		{"long type", "a", 1, strings.Repeat("x", MaxTypeBytes+1), time.Minute, ErrInvalid},
		{"type of two lines", "a", 1, "text/plain\r\nX-Evil: 1", time.Minute, ErrInvalid},
		{"type with spaces around", "a", 1, " text/plain", time.Minute, ErrInvalid},
		{"too short", "a", 1, zip, MinValid - 1, ErrInvalid},
		{"too long", "a", 1, zip, MaxValid + time.Second, ErrInvalid},
		{"no whole seconds", "a", 1, zip, 1500 * time.Millisecond, ErrInvalid},
	} {
		if err := CheckUpload(c.key, c.size, c.kind, c.validFor); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}
