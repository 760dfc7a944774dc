package device

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/telemetry"
)

// tray is a stream that only counts what is put on it.
type tray struct {
	stream.Stream
	records int
}

func (s *tray) Append(_ context.Context, batch []stream.Record) error {
	s.records += len(batch)
	return nil
}

// TestEventThatCannotRestOnTheStreamIsNotCounted is about events that the parsers should not let through.
func TestEventThatCannotRestOnTheStreamIsNotCounted(t *testing.T) {
	var log bytes.Buffer
	on := &tray{}
	s := New(Config{
		Stream: on, Now: func() time.Time { return time.Unix(1_790_000_000, 0) }, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	defer s.Close()
	good := telemetry.Event{Kind: telemetry.KindAction, App: "com.example.shop", Device: 1, Time: 1, Action: "set", Version: "1.0.1"}
	large, malformed := good, good
	large.OldVersion = strings.Repeat("v", stream.MaxRecordBytes)
	malformed.App = ""
	if err := s.append(t.Context(), []telemetry.Event{large, good, malformed, large, good}); err != nil {
		t.Fatal(err)
	}
	if n := s.Stats().Events; n != 2 || on.records != 2 {
		t.Errorf("%d events counted, %d on the stream, want 2", n, on.records)
	}
	if n := strings.Count(log.String(), "event not encoded"); n != 1 {
		t.Errorf("%d lines within a second, want 1:\n%s", n, log.String())
	}
}
