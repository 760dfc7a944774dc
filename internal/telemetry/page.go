package telemetry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"

	"github.com/palier-ota/palier/internal/rollout"
)

// Device is a Record with the fingerprint of the device it is about.
type Device struct {
	Fingerprint uint64
	Record      Record
}

// A page is Devices in ascending order of fingerprint, as bytes:
//
//	format  1 byte
//	base    uvarint, an hour not after any entry's
//	devices until the end, each:
//	  fingerprint  uvarint, the difference to the previous one
//	  sizes        uvarint, entries + entriesRadix·marks
//	  entry        1 byte: phase·2 + (arm is control); zigzag hour since the previous entry's (base for the first);
//	               uvarint hours until the second check, 0 for never
//	  mark         1 byte: kind; zigzag hour since the previous mark's (the last entry's, or base, for the first)
//
// A device that was checked in one phase takes about a dozen bytes, most of them its fingerprint.
const (
	pageFormat   = 1
	entriesRadix = MaxPhase + 2
)

// ErrCorrupt is wrapped by every error about bytes that are no page.
var ErrCorrupt = errors.New("corrupt device page")

// EncodePage returns the page of devices, which must be in ascending order of fingerprint, each once.
func EncodePage(devices []Device) []byte {
	w := newPageWriter(devices)
	for _, d := range devices {
		w.append(d)
	}
	return w.data
}

// pageWriter builds one page.
type pageWriter struct {
	data     []byte
	base     int32
	previous uint64
}

func newPageWriter(devices []Device) *pageWriter {
	base := int32(math.MaxInt32)
	for _, d := range devices {
		for _, e := range d.Record.entries {
			base = min(base, e.first)
		}
		for _, m := range d.Record.marks {
			base = min(base, m.hour)
		}
	}
	if base == math.MaxInt32 {
		base = 0
	}
	w := &pageWriter{data: make([]byte, 0, 16*(len(devices)+1)), base: base}
	w.data = append(w.data, pageFormat)
	w.data = binary.AppendUvarint(w.data, uint64(base))
	return w
}

func (w *pageWriter) append(d Device) {
	data := binary.AppendUvarint(w.data, d.Fingerprint-w.previous)
	w.previous = d.Fingerprint
	data = binary.AppendUvarint(data, uint64(len(d.Record.entries)+entriesRadix*len(d.Record.marks)))
	hour := w.base
	for _, e := range d.Record.entries {
		head := e.phase << 1
		if e.arm == rollout.ArmControl {
			head |= 1
		}
		data = append(data, head)
		data = binary.AppendVarint(data, int64(e.first)-int64(hour))
		hour = e.first
		gap := uint64(0)
		if e.second != never {
			gap = uint64(e.second - e.first)
		}
		data = binary.AppendUvarint(data, gap)
	}
	for _, m := range d.Record.marks {
		data = append(data, m.kind)
		data = binary.AppendVarint(data, int64(m.hour)-int64(hour))
		hour = m.hour
	}
	w.data = data
}

// DecodePage returns the Devices of a page, or an error wrapping ErrCorrupt. It never panics, and what it returns
// encodes to the same Devices again.
func DecodePage(data []byte) ([]Device, error) {
	var devices []Device
	for d, err := range scanPage(data) {
		if err != nil {
			return nil, err
		}
		devices = append(devices, d.clone())
	}
	return devices, nil
}

// clone returns d with slices of its own.
func (d Device) clone() Device {
	d.Record.entries = append([]entry(nil), d.Record.entries...)
	d.Record.marks = append([]mark(nil), d.Record.marks...)
	return d
}

// scanPage yields the Devices of a page in order, and at most one error, last. A Device's slices are only valid until
// the next one is asked for.
func scanPage(data []byte) iter.Seq2[Device, error] {
	return func(yield func(Device, error) bool) {
		r := pageReader{data: data}
		r.open()
		var d Device
		for r.err == nil && len(r.data) > 0 {
			d = r.next(d)
			if r.err == nil && !yield(d, nil) {
				return
			}
		}
		if r.err != nil {
			yield(Device{}, r.err)
		}
	}
}

// pageReader reads a page from its front. After the first error it stands still.
type pageReader struct {
	data  []byte
	base  int64
	begun bool
	err   error
}

func (r *pageReader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrCorrupt, what)
	}
}

func (r *pageReader) open() {
	if r.octet() != pageFormat {
		r.fail("unknown format")
		return
	}
	base := r.uvarint()
	if base > math.MaxInt32 {
		r.fail("base hour out of range")
		return
	}
	r.base = int64(base)
}

// next reads the Device that follows last, whose slices it reuses.
func (r *pageReader) next(last Device) Device {
	step := r.uvarint()
	d := Device{Fingerprint: last.Fingerprint + step}
	if r.begun && d.Fingerprint <= last.Fingerprint {
		r.fail("devices out of order")
	}
	r.begun = true
	sizes := r.uvarint()
	entries, marks := sizes%entriesRadix, sizes/entriesRadix
	if entries > MaxPhase+1 || marks > MaxMarks*markKinds {
		r.fail("too many entries")
		return d
	}
	hour := r.base
	d.Record.entries = last.Record.entries[:0]
	for range entries {
		e := r.entry(hour)
		hour = int64(e.first)
		if n := len(d.Record.entries); n > 0 && d.Record.entries[n-1].phase >= e.phase {
			r.fail("phases out of order")
		}
		if r.err != nil {
			return d
		}
		d.Record.entries = append(d.Record.entries, e)
	}
	d.Record.marks = last.Record.marks[:0]
	for range marks {
		m := r.mark(hour)
		hour = int64(m.hour)
		if n := len(d.Record.marks); n > 0 && compareMarks(d.Record.marks[n-1], m) >= 0 {
			r.fail("marks out of order")
		}
		if r.err != nil {
			return d
		}
		d.Record.marks = append(d.Record.marks, m)
	}
	return d
}

func (r *pageReader) entry(previous int64) entry {
	head := r.octet()
	e := entry{phase: head >> 1, arm: rollout.ArmCandidate, first: r.hour(previous), second: never}
	if head&1 == 1 {
		e.arm = rollout.ArmControl
	}
	if e.phase > MaxPhase {
		r.fail("phase out of range")
	}
	switch gap := r.uvarint(); {
	case gap > math.MaxInt32-uint64(e.first):
		r.fail("hour out of range")
	case gap > 0:
		e.second = e.first + int32(gap)
	}
	return e
}

func (r *pageReader) mark(previous int64) mark {
	m := mark{kind: r.octet(), hour: r.hour(previous)}
	if m.kind >= markKinds {
		r.fail("unknown mark")
	}
	return m
}

func (r *pageReader) octet() byte {
	if r.err != nil || len(r.data) == 0 {
		r.fail("truncated")
		return 0
	}
	b := r.data[0]
	r.data = r.data[1:]
	return b
}

func (r *pageReader) uvarint() uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.fail("truncated")
		return 0
	}
	r.data = r.data[n:]
	return v
}

// hour reads an hour as its difference to the previous one.
func (r *pageReader) hour(previous int64) int32 {
	if r.err != nil {
		return 0
	}
	step, n := binary.Varint(r.data)
	if n <= 0 {
		r.fail("truncated")
		return 0
	}
	r.data = r.data[n:]
	if step < -previous || step > math.MaxInt32-previous {
		r.fail("hour out of range")
		return 0
	}
	return int32(previous + step)
}
