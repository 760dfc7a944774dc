package admin

import (
	"fmt"
	"testing"
	"time"
)

func TestAgo(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "just now", 59 * time.Second: "just now", time.Minute: "1 min ago", 119 * time.Minute: "119 min ago",
		2 * time.Hour: "2 h ago", 47*time.Hour + 59*time.Minute: "47 h ago", 48 * time.Hour: "2 days ago", 1000 * time.Hour: "41 days ago",
	} {
		if got := ago(d); got != want {
			t.Errorf("%v is told as %q, want %q", d, got, want)
		}
	}
}

// TestManyProblemsAreCounted has more problems than an answer lists: all are counted.
func TestManyProblemsAreCounted(t *testing.T) {
	s := shape{}
	for i := range maxProblems + 7 {
		s.add(fmt.Sprintf("field%d", i), "unknown field")
	}
	e, _ := failure(s.err("the document"))
	if want := "57 problems in the document, of which the first 50 are listed"; e.Message != want || len(e.Details) != maxProblems {
		t.Errorf("%q with %d details, want %q with %d", e.Message, len(e.Details), want, maxProblems)
	}
}

// TestEntriesAreCalledByName lets only names stand in a path that can be read there.
func TestEntriesAreCalledByName(t *testing.T) {
	for name, want := range map[string]string{
		"beta": "channels[beta]", "early access": "channels[early access]", "": "channels[3]", "a\x1b[31mb": "channels[3]",
		string(make([]byte, 101)): "channels[3]",
	} {
		if got := channelPart().path(3, map[string]any{"name": name}); got != want {
			t.Errorf("%q is called %s, want %s", name, got, want)
		}
	}
	if got := devicePart().path(0, map[string]any{"device_id": "ABC"}); got != "devices[abc]" {
		t.Errorf("a device is called %s", got)
	}
	if got := planPart().path(1, "text"); got != "plans[1]" {
		t.Errorf("what is no entry is called %s", got)
	}
}
