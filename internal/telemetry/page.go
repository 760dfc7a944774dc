package telemetry

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"

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
//	  mark         1 byte: see below; zigzag hour since the previous mark's (the last entry's, or base, for the first)
//
// A device that was checked in one phase takes about a dozen bytes, most of them its fingerprint, and two more for every
// mark. The byte of a mark is the index of its metric; or, for a measured one, headMeasured + 16·measure + level − 1; or
// headUnknown. There is room for metrics to come.
//
// Pages of format 1 are still read. There were twelve metrics, the byte was the index of any of them, or 12 for unknown,
// and a measured metric was an event: a mark beyond rollout.ShownLevel.
const (
	pageFormat   = 2
	entriesRadix = MaxPhase + 2

	headMeasured = 64
	headUnknown  = 255

	formerFormat  = 1
	formerMetrics = 12
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
		data = append(data, m.head())
		data = binary.AppendVarint(data, int64(m.hour)-int64(hour))
		hour = m.hour
	}
	w.data = data
}

// head is the byte that stands for the kind and the level of m.
func (m mark) head() byte {
	switch measure := measureOf(m.kind); {
	case measure >= 0:
		return byte(headMeasured + rollout.NumLevels*measure + int(m.level) - 1)
	case m.kind == markUnknown:
		return headUnknown
	}
	return m.kind
}

// markOf returns the mark, still without its hour, that head stands for, and whether there is one.
func markOf(head byte) (m mark, ok bool) {
	switch {
	case head == headUnknown:
		return mark{kind: markUnknown, level: 1}, true
	case head >= headMeasured && head < headMeasured+rollout.NumLevels*rollout.NumMeasured:
		place := head - headMeasured
		return mark{kind: markMeasured + place/rollout.NumLevels, level: place%rollout.NumLevels + 1}, true
	}
	return mark{kind: head, level: 1}, head < rollout.NumMetrics && measureOf(head) < 0
}

// formerMark is markOf for pages of format 1.
func formerMark(head byte) (m mark, ok bool) {
	switch {
	case head == formerMetrics:
		return mark{kind: markUnknown, level: 1}, true
	case measureOf(head) >= 0:
		return mark{kind: head, level: rollout.ShownLevel + 1}, true
	}
	return mark{kind: head, level: 1}, head < formerMetrics
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
		r := openPage(data)
		for r.next() {
			if !yield(r.device, nil) {
				return
			}
		}
		if r.err != nil {
			yield(Device{}, r.err)
		}
	}
}

// waypointEvery is how many devices lie between two waypoints.
const waypointEvery = 16

// waypoint is a place in a page from which one can read on.
type waypoint struct {
	after uint64 // fingerprint of the device before it
	rest  int    // bytes from here to the end
}

// pageIndex finds devices in a page without reading all of it.
type pageIndex struct {
	page      pageReader // at its first device
	waypoints []waypoint
}

// newPageIndex reads the whole page once.
func newPageIndex(data []byte) (*pageIndex, error) {
	r := openPage(data)
	index := &pageIndex{page: r}
	for n := 1; r.next(); n++ {
		if n%waypointEvery == 0 {
			index.waypoints = append(index.waypoints, waypoint{r.device.Fingerprint, len(r.data)})
		}
	}
	return index, r.err
}

// find calls found for each of the fingerprints, which are in order, that the page holds, with its place among them. A
// Device's slices are only valid during the call.
func (x *pageIndex) find(fingerprints iter.Seq2[int, uint64], found func(int, Device)) {
	r := x.page
	have := r.next()
	waypoints := x.waypoints
	for i, wanted := range fingerprints {
		ahead, _ := slices.BinarySearchFunc(waypoints, wanted, func(w waypoint, f uint64) int { return cmp.Compare(w.after, f) })
		if ahead > 0 {
			w := waypoints[ahead-1]
			waypoints = waypoints[ahead:]
			if w.rest < len(r.data) {
				r.data = r.data[len(r.data)-w.rest:]
				r.device.Fingerprint = w.after
				have = r.next()
			}
		}
		for have && r.device.Fingerprint < wanted {
			have = r.next()
		}
		if !have {
			return
		}
		if r.device.Fingerprint == wanted {
			found(i, r.device)
		}
	}
}

// pageReader reads a page from its front. After the first error it stands still.
type pageReader struct {
	data   []byte // not read yet
	base   int64
	markOf func(head byte) (mark, bool) // of the page's format
	begun  bool
	device Device // the last one read; its slices are used again for the next
	err    error
}

func (r *pageReader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrCorrupt, what)
	}
}

// openPage returns a reader before the first device of a page.
func openPage(data []byte) pageReader {
	r := pageReader{data: data}
	switch r.octet() {
	case pageFormat:
		r.markOf = markOf
	case formerFormat:
		r.markOf = formerMark
	default:
		r.fail("unknown format")
		return r
	}
	base := r.uvarint()
	if base > math.MaxInt32 {
		r.fail("base hour out of range")
		return r
	}
	r.base = int64(base)
	return r
}

// next reads a device and reports whether there was one.
func (r *pageReader) next() bool {
	if r.err != nil || len(r.data) == 0 {
		return false
	}
	fingerprint := r.device.Fingerprint + r.uvarint()
	if r.begun && fingerprint <= r.device.Fingerprint {
		r.fail("devices out of order")
	}
	r.begun = true
	r.device.Fingerprint = fingerprint
	sizes := r.uvarint()
	if sizes/entriesRadix > MaxMarks*markKinds {
		r.fail("too many marks")
	}
	hour := r.entries(sizes % entriesRadix)
	r.marks(sizes/entriesRadix, hour)
	return r.err == nil
}

// entries reads n entries into the device and returns the hour of the last one.
func (r *pageReader) entries(n uint64) (hour int64) {
	hour = r.base
	list := r.device.Record.entries[:0]
	for range n {
		e := r.entry(hour)
		hour = int64(e.first)
		if len(list) > 0 && list[len(list)-1].phase >= e.phase {
			r.fail("phases out of order")
		}
		if r.err != nil {
			break
		}
		list = append(list, e)
	}
	r.device.Record.entries = list
	return hour
}

// marks reads n marks into the device; the first one's hour is told from the given one.
func (r *pageReader) marks(n uint64, hour int64) {
	list := r.device.Record.marks[:0]
	for range n {
		m := r.mark(hour)
		hour = int64(m.hour)
		if n := len(list); n > 0 && list[n-1].slot() >= m.slot() {
			r.fail("marks out of order")
		}
		if r.err != nil {
			break
		}
		list = append(list, m)
	}
	r.device.Record.marks = list
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
	m, ok := r.markOf(r.octet())
	if !ok {
		r.fail("unknown mark")
	}
	m.hour = r.hour(previous)
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
