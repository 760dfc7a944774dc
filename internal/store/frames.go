package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/palier-ota/palier/internal/judge"
)

// frame is a whole reading, against which the records of the next hour are written. The zero frame covers nothing.
type frame struct {
	id     string
	at     time.Time
	strata []judge.Stratum
	// before is what zstd takes for the text that came before a record's: the end of the frame's, where its latest strata,
	// its plan and its verdict are.
	before []byte
}

const (
	frameSpan = time.Hour
	// frameBefore is the length of frame.before: within what the fastest level of zstd remembers.
	frameBefore = 64 << 10
	// frameDictionary is the number of frame.before for zstd. It says nothing: a record's value names its frame.
	frameDictionary = 1
	// squeezeWindow is how far back zstd looks: it takes that much memory, and a record with what came before it is shorter.
	squeezeWindow = 256 << 10
	// partBytes is how much of a frame, or of a record, goes into one item; the rest of MaxItemBytes is for the key.
	partBytes = MaxItemBytes - 1000
	// firstPart is how the key of a frame's first item ends.
	firstPart = "00"
	// maxTextBytes bounds what a frame or a record unpacks to, so that no stored item can fill the memory.
	maxTextBytes = 64 << 20
)

// covers reports whether a record of the instant at is written against f. The clocks of two ticks may differ.
func (f frame) covers(at time.Time) bool { return f.id != "" && at.Sub(f.at).Abs() < frameSpan }

// newFrame returns the frame of that text.
func newFrame(id string, text []byte) (frame, error) {
	var whole verdictText
	if err := json.Unmarshal(text, &whole); err != nil {
		return frame{}, fmt.Errorf("frame %s: %w", id, err)
	}
	at := whole.Record.Input.Now
	if id != verdictID(at, text) {
		return frame{}, fmt.Errorf("frame %s: %w: its content is not what its key says", id, ErrInvalid)
	}
	return frame{id: id, at: at, strata: whole.Strata, before: text[max(0, len(text)-frameBefore):]}, nil
}

// newestFrame returns the newest frame, or the zero frame. It may miss one that was just written, and it passes over one
// that cannot be read; then the next record brings a frame of its own.
func (p partition) newestFrame(ctx context.Context) (frame, error) {
	newest, err := p.store.Query(ctx, Range{PK: p.pk, Prefix: prefixFrame, Limit: 1, Backward: true}, Eventual)
	if err != nil || len(newest) == 0 {
		return frame{}, err
	}
	id, part, _ := strings.Cut(strings.TrimPrefix(newest[0].SK, prefixFrame), "#")
	parts := newest
	if part != firstPart {
		if parts, err = p.frameParts(ctx, id); err != nil {
			return frame{}, err
		}
	}
	f, err := joinFrame(id, parts)
	if err != nil {
		return frame{}, nil
	}
	return f, nil
}

// frame returns the frame of that id, or ErrNotFound.
func (p partition) frame(ctx context.Context, id string) (frame, error) {
	parts, err := p.frameParts(ctx, id)
	if err != nil {
		return frame{}, err
	}
	if len(parts) == 0 {
		return frame{}, fmt.Errorf("frame %.80q: %w", id, ErrNotFound)
	}
	return joinFrame(id, parts)
}

func (p partition) frameParts(ctx context.Context, id string) ([]Item, error) {
	return p.store.Query(ctx, Range{PK: p.pk, Prefix: prefixFrame + id + "#"}, Strong)
}

// joinFrame unpacks the frame that parts hold together.
func joinFrame(id string, parts []Item) (frame, error) {
	var packed []byte
	for _, item := range parts {
		packed = append(packed, item.Value...)
	}
	text, err := expand(packed)
	if err != nil {
		return frame{}, fmt.Errorf("frame %s: %w", id, err)
	}
	return newFrame(id, text)
}

// putFrame stores the reading of r as a frame, in as many items as it takes, all or nothing.
func (p partition) putFrame(ctx context.Context, r VerdictRecord) (frame, error) {
	at, strata := r.Input.Now, r.Input.Strata
	r.Input.Strata = nil
	text, err := json.Marshal(verdictText{Strata: strata, Record: r})
	if err != nil {
		return frame{}, fmt.Errorf("encoding a frame: %w", err)
	}
	if len(text) > maxTextBytes {
		return frame{}, fmt.Errorf("%w: a frame of %d bytes, at most %d", ErrTooLarge, len(text), maxTextBytes)
	}
	packed, err := squeeze(text)
	if err != nil {
		return frame{}, err
	}
	id := verdictID(at, text)
	var ops []Op
	for part := range slices.Chunk(packed, partBytes) {
		// It outlives the last record that can name it.
		item := Item{Version: 1, Value: part, Expires: at.Add(verdictLife + 2*frameSpan)}
		item.Key = Key{p.pk, fmt.Sprintf("%s%s#%02d", prefixFrame, id, len(ops))}
		ops = append(ops, Put(item, Always()))
	}
	if err := p.store.Write(ctx, ops...); err != nil {
		return frame{}, fmt.Errorf("a frame of %d bytes: %w", len(packed), err)
	}
	return newFrame(id, text)
}

// pack returns the ID and the value of a record: the id of its frame, and how r differs from it.
func (f frame) pack(r VerdictRecord) (id string, value []byte, err error) {
	change := ChangeOfStrata(f.strata, r.Input.Strata)
	r.Input.Strata = nil
	text, err := json.Marshal(verdictText{Strata: change.Changed, Gone: change.Gone, Record: r})
	if err != nil {
		return "", nil, fmt.Errorf("encoding: %w", err)
	}
	packed, err := squeeze(text, zstd.WithEncoderDictRaw(frameDictionary, f.before))
	if err != nil {
		return "", nil, err
	}
	return verdictID(r.Input.Now, text), append([]byte(f.id+"\n"), packed...), nil
}

// unpack returns the record of that ID from its value, which must name f.
func (f frame) unpack(id string, value []byte) (VerdictRecord, error) {
	_, packed, named := bytes.Cut(value, []byte("\n"))
	if !named {
		return VerdictRecord{}, fmt.Errorf("%w: it names no frame", ErrInvalid)
	}
	text, err := expand(packed, zstd.WithDecoderDictRaw(frameDictionary, f.before))
	if err != nil {
		return VerdictRecord{}, err
	}
	var differs verdictText
	if err := json.Unmarshal(text, &differs); err != nil {
		return VerdictRecord{}, err
	}
	r := differs.Record
	if id != verdictID(r.Input.Now, text) {
		return VerdictRecord{}, fmt.Errorf("%w: its content is not what its key says", ErrInvalid)
	}
	r.ID = id
	r.Input.Strata = StrataChange{differs.Strata, differs.Gone}.ApplyTo(f.strata)
	return r, nil
}

// frameOf returns the id of the frame that the value of a record names.
func frameOf(value []byte) string {
	id, _, _ := bytes.Cut(value, []byte("\n"))
	return string(id)
}

// squeeze compresses text, quickly: it is done once a minute for every live rollout, and stronger levels save a twentieth.
func squeeze(text []byte, options ...zstd.EOption) ([]byte, error) {
	quick := []zstd.EOption{
		zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(squeezeWindow), zstd.WithEncoderConcurrency(1),
	}
	z, err := zstd.NewWriter(nil, append(quick, options...)...)
	if err != nil {
		return nil, fmt.Errorf("compressing: %w", err)
	}
	return z.EncodeAll(text, nil), z.Close()
}

// expand returns the text that squeeze was given, at most maxTextBytes of it.
func expand(packed []byte, options ...zstd.DOption) ([]byte, error) {
	options = append(options, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxTextBytes))
	z, err := zstd.NewReader(nil, options...)
	if err != nil {
		return nil, fmt.Errorf("expanding: %w", err)
	}
	defer z.Close()
	text, err := z.DecodeAll(packed, nil)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return nil, fmt.Errorf("expanding: %w: more than %d bytes", ErrTooLarge, maxTextBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("expanding: %w", err)
	}
	return text, nil
}
