package store

import (
	"encoding/json"
	"fmt"

	"github.com/palier-ota/palier/internal/resolve"
)

// TooLargeError says which part of an app cannot be stored, and what to do. It is an ErrTooLarge.
type TooLargeError struct {
	What  string // "the app's snapshot", "bundle 1.4.0"
	Bytes int    // its size, compressed unless Most is the limit of a Spec's JSON
	Most  int    // how many would fit
	Hint  string // the next step
}

// Error says what is too large and, in brackets, what to do.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s has %d bytes, at most %d fit [%s]", e.What, e.Bytes, e.Most, e.Hint)
}

// Unwrap makes it an ErrTooLarge.
func (e *TooLargeError) Unwrap() error { return ErrTooLarge }

// heaviest says what to shrink in a Spec that is too large: its biggest part, before compression.
func heaviest(spec resolve.Spec) string {
	worst, hint := size(spec.Versions), "delete bundles that no device runs any more"
	for _, b := range spec.Bundles {
		if n := size(b); n > worst {
			worst, hint = n, fmt.Sprintf("bundle %s takes %d bytes: give it a shorter manifest, or deliver it as a zip only", b.Version, n)
		}
	}
	for _, s := range spec.Segments {
		if n := size(s); n > worst {
			worst, hint = n, fmt.Sprintf("segment %s takes %d bytes: list fewer devices in it, or describe them by a rule", s.Name, n)
		}
	}
	return hint
}

// size is the length of v as JSON; what cannot be encoded has none.
func size(v any) int {
	text, err := json.Marshal(v)
	if err != nil {
		return 0
	}
	return len(text)
}
