package telemetry

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/palier-ota/palier/internal/rollout"
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
		{7, recordOf([]step{{hour: 480_000, arm: 1}, {hour: 480_003, arm: 1}, {hour: 480_001, action: "app_crash", arm: 1}}).
			Merge(Record{marks: []mark{{480_004, markMeasured, 3}, {480_009, markMeasured, 16}}})},
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

// formerBytes is a page of format 1, written when that was the format.
const formerBytes = "0190f41d07a701000003043c0000330503073a0b370c04f9ffffffff1f2201020006008080808080e0ffff7f42050e0504"

func formerPage(t testing.TB) []byte {
	t.Helper()
	page, err := hex.DecodeString(formerBytes)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

func TestPagesOfTheFormerFormatAreRead(t *testing.T) {
	const hour, slow = 490_000, rollout.ShownLevel + 1
	want := []Device{
		{7, Record{
			entries: []entry{{hour, hour + 3, 0, rollout.ArmCandidate}, {hour + 30, never, 2, rollout.ArmCandidate}},
			marks: []mark{{hour + 4, 0, 1}, {hour + 2, markMeasured, slow}, {hour + 31, markMeasured + 2, slow},
				{hour + 3, markAdoption, 1}, {hour + 5, markUnknown, 1}},
		}},
		{1 << 40, Record{
			entries: []entry{{hour + 1, never, 0, rollout.ArmControl}},
			marks:   []mark{{hour + 1, markMeasured + 1, slow}},
		}},
		{1 << 63, Record{marks: []mark{{hour + 7, markMeasured, slow}, {hour + 9, markMeasured, slow}}}},
	}
	got, err := DecodePage(formerPage(t))
	if err != nil || !equalDevices(got, want) {
		t.Fatalf("%v\n got %+v\nwant %+v", err, got, want)
	}
	if page := EncodePage(got); page[0] != pageFormat {
		t.Errorf("written anew as format %d", page[0])
	}
	index, err := newPageIndex(formerPage(t))
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]Device{}
	index.find(slices.All([]uint64{1 << 40}), func(i int, d Device) { found[i] = d.clone() })
	if !found[0].Record.Equal(want[1].Record) {
		t.Errorf("found %+v", found)
	}
}

func TestUnknownMarksAreRefused(t *testing.T) {
	page := EncodePage([]Device{{1, recordOf([]step{{hour: 5, arm: 1}, {hour: 5, action: "app_anr", arm: 1}})}})
	at := len(page) - 2
	for format, heads := range map[byte][]byte{
		pageFormat:   {markMeasured, markMeasured + 2, rollout.NumMetrics, headMeasured - 1, headMeasured + 48, headUnknown - 1},
		formerFormat: {formerMetrics + 1, headMeasured, headUnknown},
		3:            {0},
		0:            {0},
	} {
		for _, head := range heads {
			page[0], page[at] = format, head
			if _, err := DecodePage(page); !errors.Is(err, ErrCorrupt) {
				t.Errorf("format %d, head %d: %v", format, head, err)
			}
		}
	}
	page[0], page[at] = pageFormat, 1
	if _, err := DecodePage(page); err != nil {
		t.Errorf("the page without a change: %v", err)
	}
}

func FuzzDecodePage(f *testing.F) {
	f.Add(EncodePage(nil))
	f.Add(formerPage(f))
	f.Add(EncodePage([]Device{{1, recordOf([]step{{hour: 5, arm: 1}, {hour: 9, action: "app_anr", arm: 1}})}}))
	f.Add([]byte{pageFormat, 0, 1, 33, headMeasured + 9, 0})
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
