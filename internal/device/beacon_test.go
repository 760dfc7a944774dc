package device

import (
	"log/slog"
	"strconv"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// TestBeaconKeepsApartManyDevices asks how many events a fleet costs that comes back within the hour: devices that push
// each other out of the memory are noted at every check.
func TestBeaconKeepsApartManyDevices(t *testing.T) {
	b := newBeacon(nil, slog.New(slog.DiscardHandler))
	defer b.close()
	const devices = 20_000
	round := func(hour int64) (noted int) {
		for i := range devices {
			if _, ok := b.first(xxhash.Sum64String("device "+strconv.Itoa(i)), "1.0.0", "r", 0, hour); ok {
				noted++
			}
		}
		return noted
	}
	for hour := range int64(6) { // what earlier hours left behind must give way
		if n := round(hour); n != devices {
			t.Errorf("hour %d: %d of %d devices noted", hour, n, devices)
		}
		if n := round(hour); n > devices/100 {
			t.Errorf("hour %d: %d of %d devices noted again", hour, n, devices)
		}
	}
}

func TestBeaconForgetsWhatWasDropped(t *testing.T) {
	b := newBeacon(nil, slog.New(slog.DiscardHandler))
	defer b.close()
	first := func(device uint64) (uint64, bool) { return b.first(device, "1.0.0", "r", 0, 0) }
	hash, ok := first(1)
	if !ok {
		t.Fatal("not the first")
	}
	for device := range uint64(beaconWays - 2) {
		first(1 + (device+1)*beaconSets*4) // others of its set move it about
	}
	b.drop(noted{hash: hash})
	if _, ok := first(1); !ok || b.dropped.Load() != 1 {
		t.Errorf("remembered, though its event went nowhere; %d dropped", b.dropped.Load())
	}
	if _, ok := first(1); ok {
		t.Error("noted twice")
	}
}
