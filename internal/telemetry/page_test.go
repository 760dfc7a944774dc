package telemetry

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// drawnDevices are in order, each once.
func drawnDevices(t *rapid.T) []Device {
	fingerprints := rapid.SliceOfNDistinct(rapid.Uint64(), 0, 30, rapid.ID[uint64]).Draw(t, "fingerprints")
	slices.Sort(fingerprints)
	var out []Device
	for _, f := range fingerprints {
		out = append(out, Device{f, drawnRecord(t)})
	}
	return out
}

func equalDevices(a, b []Device) bool {
	return slices.EqualFunc(a, b, func(x, y Device) bool {
		return x.Fingerprint == y.Fingerprint && x.Record.Equal(y.Record)
	})
}

func TestPagesReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		devices := drawnDevices(t)
		page := EncodePage(devices)
		back, err := DecodePage(page)
		if err != nil {
			t.Fatal(err)
		}
		if !equalDevices(back, devices) {
			t.Fatalf("wrote %+v\n read %+v", devices, back)
		}
		bound := 16
		for _, d := range devices {
			bound += d.Record.Bytes()
		}
		if len(page) > bound {
			t.Fatalf("page has %d bytes, Bytes promised at most %d", len(page), bound)
		}
	})
}

func TestEveryTruncationOfAPageIsRefusedOrShorter(t *testing.T) {
	devices := []Device{
		{7, recordOf([]step{{hour: 480_000, arm: 1}, {hour: 480_003, arm: 1}, {hour: 480_001, action: "app_crash", arm: 1}})},
		{1 << 60, recordOf([]step{{hour: 480_010, arm: 2}, {hour: 480_100, phase: 3, arm: 1, candidate: true}})},
	}
	page := EncodePage(devices)
	for n := range page {
		back, err := DecodePage(page[:n])
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("first %d bytes: error %v does not wrap ErrCorrupt", n, err)
		}
		if err == nil && !equalDevices(back, devices[:len(back)]) {
			t.Errorf("first %d bytes read as %+v", n, back)
		}
	}
}

func FuzzDecodePage(f *testing.F) {
	f.Add(EncodePage(nil))
	f.Add(EncodePage([]Device{{1, recordOf([]step{{hour: 5, arm: 1}, {hour: 9, action: "app_anr", arm: 1}})}}))
	f.Add([]byte{pageFormat, 0xff, 0xff, 0xff, 0xff, 0x07, 1, 1, 0, 1, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		devices, err := DecodePage(data)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("error %v does not wrap ErrCorrupt", err)
			}
			return
		}
		page := EncodePage(devices)
		again, err := DecodePage(page)
		if err != nil || !equalDevices(again, devices) {
			t.Fatalf("%v: %+v became %+v", err, devices, again)
		}
		if !bytes.Equal(EncodePage(again), page) {
			t.Fatal("the same devices have two encodings")
		}
		for _, d := range devices {
			deltaOf(d.Record.Merge(d.Record))
		}
	})
}

func TestPageIndexFindsWhatTheScanFinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		apart := rapid.Uint64Range(1, 1<<50).Draw(t, "apart")
		var devices []Device
		for i := range uint64(rapid.IntRange(0, 6*waypointEvery).Draw(t, "devices")) {
			devices = append(devices, Device{(i + 1) * apart, recordOf([]step{{hour: int64(i % 50), arm: 1}})})
		}
		index, err := newPageIndex(EncodePage(devices))
		if err != nil {
			t.Fatal(err)
		}
		wanted := rapid.SliceOfDistinct(rapid.Uint64Range(0, 7*waypointEvery*2), rapid.ID[uint64]).Draw(t, "wanted")
		slices.Sort(wanted)
		for i, n := range wanted {
			wanted[i] = n*apart/2 + n%2 // every second one is no device's
		}
		found := map[int]Device{}
		index.find(slices.All(wanted), func(i int, d Device) { found[i] = d.clone() })
		for i, f := range wanted {
			at, there := slices.BinarySearchFunc(devices, Device{Fingerprint: f}, compareDevices)
			got, ok := found[i]
			if ok != there || ok && (got.Fingerprint != f || !got.Record.Equal(devices[at].Record)) {
				t.Fatalf("device %x: found %t %+v, want %t", f, ok, got, there)
			}
		}
	})
}

func TestPageIndexRefusesCorruptPages(t *testing.T) {
	if _, err := newPageIndex([]byte{pageFormat, 0, 1, 0xff}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}
