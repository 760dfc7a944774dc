package telemetry

import (
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

func drawnTally(t *rapid.T) Tally {
	n := rapid.Int64Range(0, 1<<40)
	out := Tally{Counts: judge.Counts{Devices: n.Draw(t, "devices"), Adopted: n.Draw(t, "adopted")}, Unknown: n.Draw(t, "unknown")}
	for i := range out.Returned {
		out.Returned[i] = n.Draw(t, "returned")
	}
	for i := range out.Events {
		out.Events[i] = n.Draw(t, "events")
	}
	for i := range out.Measured {
		m := &out.Measured[i]
		m.Devices, m.Squares = n.Draw(t, "measured"), n.Draw(t, "squares")
		m.Beyond[rapid.IntRange(0, rollout.NumLevels-1).Draw(t, "level")] = n.Draw(t, "beyond")
	}
	return out
}

func TestTalliesReadBackAndAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawnTally(t), drawnTally(t)
		text, err := a.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := DecodeTally(text); err != nil || back != a {
			t.Fatalf("%v: wrote %+v, read %+v", err, a, back)
		}
		if sum := a.Add(b, 1); sum.Add(b, -1) != a || sum != b.Add(a, 1) {
			t.Fatalf("%+v and %+v do not add up", a, b)
		}
	})
}

func TestWhatIsNotMeasuredIsNotWritten(t *testing.T) {
	text, err := Tally{Counts: judge.Counts{Devices: 1}}.Encode()
	if err != nil || strings.Contains(string(text), "measured") {
		t.Errorf("%v: %s", err, text)
	}
}

// TestTalliesOfFormerRecords reads a page and the tallies that its Records had come to when there were twelve metrics. The
// Records must contribute just that today, so that what one of them no longer contributes can be taken out.
func TestTalliesOfFormerRecords(t *testing.T) {
	const cand, ctrl = rollout.ArmCandidate, rollout.ArmControl
	left := Delta{}
	for k, text := range map[TallyKey]string{
		{0, 490000, cand}: `{"devices":1,"returned":[0,1,1],"adopted":0,"events":[0,0,0,0,0,0,0,0,0,0,0,0]}`,
		{0, 490001, ctrl}: `{"devices":1,"returned":[0,0,0],"adopted":0,"events":[0,0,0,0,0,0,1,0,0,0,0,0]}`,
		{0, 490002, cand}: `{"devices":0,"returned":[0,0,0],"adopted":0,"events":[0,0,0,0,0,1,0,0,0,0,0,0]}`,
		{0, 490003, cand}: `{"devices":0,"returned":[0,0,0],"adopted":1,"events":[0,0,0,0,0,0,0,0,0,0,0,1]}`,
		{0, 490004, cand}: `{"devices":0,"returned":[0,0,0],"adopted":0,"events":[1,0,0,0,0,0,0,0,0,0,0,0]}`,
		{0, 490005, cand}: `{"devices":0,"returned":[0,0,0],"adopted":0,"events":[0,0,0,0,0,0,0,0,0,0,0,0],"unknown":1}`,
		{2, 490030, cand}: `{"devices":1,"returned":[0,0,0],"adopted":0,"events":[0,0,0,0,0,0,0,0,0,0,0,0]}`,
		{2, 490031, cand}: `{"devices":0,"returned":[0,0,0],"adopted":0,"events":[0,0,0,0,0,0,0,1,0,0,0,0]}`,
	} {
		tally, err := DecodeTally([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		left[k] = tally
	}
	devices, err := DecodePage(formerPage(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range devices {
		left.add(d.Record, -1)
	}
	if len(left) > 0 {
		t.Errorf("the tallies have beyond what the Records contribute: %+v", left)
	}
}

func TestDeltasKeepNoEmptyEntries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawnRecord(t), drawnRecord(t)
		d := Delta{}
		Change{Old: a, New: b}.AddTo(d)
		undo := Delta{}
		Change{Old: b, New: a}.AddTo(undo)
		d.Merge(undo)
		if len(d) != 0 {
			t.Fatalf("there and back leaves %+v", d)
		}
	})
}

func TestStrataPairArmsAndSumShards(t *testing.T) {
	row := func(shard string, phase int, hour int64, arm rollout.Arm, devices, crashes int64) Row {
		r := Row{Shard: shard, TallyKey: TallyKey{phase, hour, arm}}
		r.Devices, r.Events[rollout.Crash.Index()] = devices, crashes
		return r
	}
	tallies := Tallies{Rows: []Row{
		row("1", 1, 7, rollout.ArmCandidate, 5, 1),
		row("0", 0, 9, rollout.ArmControl, 40, 2),
		row("0", 0, 9, rollout.ArmCandidate, 2, 0),
		row("1", 0, 9, rollout.ArmCandidate, 3, 1),
		row("1", 0, 8, rollout.ArmControl, 1, 0),
	}}
	counts := func(devices, crashes int64) judge.Counts {
		var c judge.Counts
		c.Devices, c.Events[rollout.Crash.Index()] = devices, crashes
		return c
	}
	want := []judge.Stratum{
		{Phase: 0, Hour: 8, Share: .05, Control: counts(1, 0)},
		{Phase: 0, Hour: 9, Share: .05, Candidate: counts(5, 1), Control: counts(40, 2)},
		{Phase: 1, Hour: 7, Share: .2, Candidate: counts(5, 1)},
	}
	got := tallies.Strata(func(phase int) float64 { return []float64{.05, .2}[phase] })
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func FuzzDecodeTally(f *testing.F) {
	f.Add([]byte(`{"devices":3,"returned":[1,2,3],"adopted":0,"events":[0,0,0,0,0,0,0,0,0,0,0,0]}`))
	f.Add([]byte(`{"events":[1,2,3,4,5,6,7,8,9,10,11,12,13,14]}`))
	f.Add([]byte(`{"events":[],"measured":[{"devices":1,"beyond":[1,1],"squares":4}]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tally, err := DecodeTally(data)
		if err != nil {
			return
		}
		text, err := tally.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := DecodeTally(text); err != nil || back != tally {
			t.Fatalf("%v: %+v became %+v", err, tally, back)
		}
	})
}
