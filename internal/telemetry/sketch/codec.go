package sketch

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/axiomhq/hyperloglog"

	"github.com/palier-ota/palier/internal/rollout"
)

// The bytes of a Sketch:
//
//	format    1 byte
//	arm       twice, candidate and control, each:
//	  devices   a series: register, its value
//	  measure   three times: uvarint, values below a millisecond; then a series: bin, its values
//
// A series is numbers above 0 at ascending places from 0 on. Each is a uvarint; a 0 says that a uvarint follows by which
// to go ahead, and to go ahead by 0 is the end. Neighbours take little more than a byte each.
//
// The libraries have encodings of their own. That of devices always has all 4096 registers, of which a slot fills few;
// the one of values passes over errors when it is read, and believes any index.
const (
	format = 1

	// MaxBytes is the most that Decode reads. Encode writes about 16 KB when every register and bin is taken and bins have
	// millions of values, and most often a tenth of that.
	MaxBytes = 32 << 10

	registers   = 1 << Precision
	maxRegister = 64 - Precision + 1
	maxCount    = 1 << 40 // of a bin: far beyond what can come, far from what a float64 cannot count

	denseHead    = 8 // bytes before the registers in hyperloglog's form
	denseVersion = 2
)

// ErrCorrupt is wrapped by every error about bytes that are no Sketch.
var ErrCorrupt = errors.New("corrupt sketch")

// Encode returns s as bytes. Sketches of the same content give the same bytes.
func (s *Sketch) Encode() []byte {
	w := writer{data: append(make([]byte, 0, 1<<10), format)}
	for i := range s.arms {
		w.registers(s.arms[i].devices)
		for _, values := range s.arms[i].measures {
			w.values(values)
		}
	}
	return w.data
}

// writer builds the bytes of a Sketch.
type writer struct {
	data []byte
	next int // place in the series
}

// put adds the number n, above 0, at a place of the series.
func (w *writer) put(place int, n uint64) {
	if place > w.next {
		w.data = binary.AppendUvarint(append(w.data, 0), uint64(place-w.next))
	}
	w.data = binary.AppendUvarint(w.data, n)
	w.next = place + 1
}

// end ends the series.
func (w *writer) end() {
	w.data = append(w.data, 0, 0)
	w.next = 0
}

func (w *writer) registers(devices *hyperloglog.Sketch) {
	if devices != nil {
		for i, value := range dense(devices) {
			if value > 0 {
				w.put(i, uint64(value))
			}
		}
	}
	w.end()
}

// dense returns the registers of devices, which may be sparse.
func dense(devices *hyperloglog.Sketch) []byte {
	all := newDevices(false)
	_ = all.Merge(devices)         // refuses only another precision
	data, _ := all.MarshalBinary() // never fails
	return data[denseHead:]
}

func (w *writer) values(values *ddsketch.DDSketch) {
	if values == nil {
		w.data = binary.AppendUvarint(w.data, 0)
		w.end()
		return
	}
	w.data = binary.AppendUvarint(w.data, counted(values.GetZeroCount()))
	values.GetPositiveValueStore().ForEach(func(bin int, count float64) (stop bool) {
		w.put(bin, counted(count))
		return false
	})
	w.end()
}

func counted(n float64) uint64 { return uint64(min(n, maxCount)) }

// Decode reads what Encode wrote. Any other bytes give an error that wraps ErrCorrupt, and never a panic.
func Decode(data []byte) (*Sketch, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes; at most %d", ErrCorrupt, len(data), MaxBytes)
	}
	r := reader{data: data}
	if r.octet() != format {
		r.fail("unknown format")
	}
	s := &Sketch{}
	for i := range s.arms {
		s.arms[i].devices = r.registers()
		for measure := range rollout.NumMeasured {
			r.values(&s.arms[i], measure)
		}
	}
	if len(r.data) > 0 {
		r.fail("something follows")
	}
	if r.err != nil {
		return nil, r.err
	}
	return s, nil
}

// reader reads a Sketch from its front. After the first error it stands still.
type reader struct {
	data []byte // not read yet
	err  error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrCorrupt, what)
	}
}

func (r *reader) octet() byte {
	if len(r.data) == 0 {
		r.fail("truncated")
		return 0
	}
	b := r.data[0]
	r.data = r.data[1:]
	return b
}

// uvarint returns a number up to most.
func (r *reader) uvarint(most uint64) uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.data)
	if n <= 0 || v > most {
		r.fail("truncated, or out of range")
		return 0
	}
	r.data = r.data[n:]
	return v
}

// series reads a series of so many places and of numbers up to most.
func (r *reader) series(places int, most uint64, take func(place int, n uint64)) {
	for at := 0; r.err == nil; {
		n := r.uvarint(most)
		if n == 0 {
			ahead := r.uvarint(uint64(places))
			if ahead == 0 {
				return
			}
			at += int(ahead)
			continue
		}
		if at >= places {
			r.fail("series out of range")
			return
		}
		take(at, n)
		at++
	}
}

// registers returns the devices whose registers follow, nil if there are none.
func (r *reader) registers() *hyperloglog.Sketch {
	var form [denseHead + registers]byte
	any := false
	r.series(registers, maxRegister, func(i int, value uint64) {
		form[denseHead+i], any = byte(value), true
	})
	if !any || r.err != nil {
		return nil
	}
	form[0], form[1] = denseVersion, Precision
	binary.BigEndian.PutUint32(form[4:], registers)
	devices := newDevices(false)
	if err := devices.UnmarshalBinary(form[:]); err != nil {
		r.fail(err.Error())
		return nil
	}
	return devices
}

// values reads the values of a measure into a.
func (r *reader) values(a *arm, measure int) {
	if none := r.uvarint(maxCount); none > 0 {
		_ = a.measure(measure).AddWithCount(0, float64(none)) // refuses only negative counts
	}
	r.series(maxBins, maxCount, func(bin int, n uint64) {
		a.measure(measure).GetPositiveValueStore().AddWithCount(bin, float64(n))
	})
}
