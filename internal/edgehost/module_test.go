package edgehost_test

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/palier-ota/palier/internal/edgehost"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/seal"
)

// Times of these tests, in Unix seconds.
const (
	issued  = 1_795_392_000
	expires = issued + 86_400
	grace   = 3_600
	now     = issued + 60
)

var private = ed25519.NewKeyFromSeed([]byte("a key of these tests, 32 bytes!!"))

// newModule compiles a module that trusts private.
func newModule(t testing.TB, instances int) *edgehost.Module {
	t.Helper()
	key := seal.PublicKey(private)
	m, err := edgehost.NewModule(t.Context(), edgehost.ModuleConfig{
		Wasm: module(t), Keys: [][]byte{key[:]}, Instances: instances, Cache: compiled, Log: quiet(),
	})
	must(t, err)
	t.Cleanup(func() { must(t, m.Close(t.Context())) })
	return m
}

// sealed is the sealed Snapshot of an App whose public channel has a bundle, beside channels that have others.
func sealed(t testing.TB, app string, revision int64, bundle string, others ...string) []byte {
	t.Helper()
	bundles, channels := map[string]rollout.Bundle{}, map[string]rollout.Channel{}
	for _, version := range append(others, bundle) {
		channel := rollout.NewChannel("of-" + strings.ReplaceAll(version, ".", "-"))
		channel.Public, channel.Bundle = version == bundle, version
		channels[channel.Name] = channel
		bundles[version] = rollout.Bundle{Version: version, URL: "https://cdn.example.com/" + version + ".zip", Checksum: "c0ffee"}
	}
	spec, err := json.Marshal(resolve.NewSpec(rollout.State{
		App: rollout.App{ID: app}, Revision: revision, Bundles: bundles, Channels: channels,
	}))
	must(t, err)
	return seal.Sign(private, seal.Header{App: app, Revision: revision, Issued: issued, Expires: expires}, spec)
}

func load(t testing.TB, m *edgehost.Module, app string, sealed []byte, want edgehost.Outcome) {
	t.Helper()
	if got, err := m.Load(t.Context(), app, sealed, now, grace); err != nil || got != want {
		t.Fatalf("%s, %v; want %s", got, err, want)
	}
}

// answer returns what a device that runs a version is answered.
func answer(t testing.TB, m *edgehost.Module, version string) edgehost.Result {
	t.Helper()
	var r edgehost.Result
	must(t, m.Check(t.Context(), []byte(says(id(1), version, "")), now, &r))
	return r
}

func TestModuleRefusesWhatIsNone(t *testing.T) {
	key := make([]byte, 32)
	for name, c := range map[string]edgehost.ModuleConfig{
		"no module":      {Wasm: []byte("no module"), Keys: [][]byte{key}},
		"an empty one":   {Wasm: []byte("\x00asm\x01\x00\x00\x00"), Keys: [][]byte{key}},
		"no key":         {Wasm: module(t), Keys: [][]byte{key[:31]}, Cache: compiled},
		"too many keys":  {Wasm: module(t), Keys: [][]byte{key, key, key, key, key}, Cache: compiled},
		"no place for a": {Wasm: module(t), Keys: [][]byte{key}, Cache: filepath.Join(os.DevNull, "cache")},
	} {
		c.Log = quiet()
		if m, err := edgehost.NewModule(t.Context(), c); err == nil {
			t.Errorf("%s was taken", name)
			_ = m.Close(t.Context())
		}
	}
}

// While Snapshots change under load, every answer is one of those that were right during the question.
func TestModuleAnswersWhileItLoads(t *testing.T) {
	m := newModule(t, 2)
	load(t, m, app, sealed(t, app, 1, "1.0.1"), edgehost.Loaded)
	var mu sync.Mutex
	done, last := 1, 7
	revision := func() int {
		mu.Lock()
		defer mu.Unlock()
		return done
	}
	var asking sync.WaitGroup
	for n := range 3 {
		asking.Go(func() {
			var r edgehost.Result
			body := []byte(says(id(n), "0.9.0", ""))
			for before := revision(); before < last; before = revision() {
				if err := m.Check(t.Context(), body, now, &r); err != nil {
					t.Error(err)
					return
				}
				current := []byte(says(id(n), fmt.Sprintf("1.0.%d", before), ""))
				if err := m.Check(t.Context(), current, now, &r); err != nil {
					t.Error(err)
					return
				}
				upToDate := r.Verdict == edgehost.Answered && strings.Contains(string(r.Answer), "no_new_version")
				if after := revision(); after == before && !upToDate && r.Verdict != edgehost.NeedsFacts {
					t.Errorf("between revision %d and the next: %d %s", before, r.Verdict, r.Answer)
				}
			}
		})
	}
	for next := 2; next <= last; next++ {
		load(t, m, app, sealed(t, app, int64(next), fmt.Sprintf("1.0.%d", next)), edgehost.Loaded)
		for range 4 { // all instances, whichever comes
			if r := answer(t, m, fmt.Sprintf("1.0.%d", next)); r.Verdict != edgehost.Answered {
				t.Errorf("revision %d has not reached everyone: %d %s", next, r.Verdict, r.Answer)
			}
		}
		mu.Lock()
		done = next
		mu.Unlock()
	}
	asking.Wait()
}

// An instance that traps is replaced by one that knows all that the others know.
func TestModuleMendsItself(t *testing.T) {
	const other, gone = "com.example.other", "com.example.gone"
	m := newModule(t, 2)
	load(t, m, app, sealed(t, app, 7, "1.1.0"), edgehost.Loaded)
	load(t, m, other, sealed(t, other, 3, "1.1.0"), edgehost.Loaded)
	load(t, m, gone, sealed(t, gone, 3, "1.1.0"), edgehost.Loaded)
	must(t, m.Forget(t.Context(), gone))
	want := answer(t, m, "1.1.0")
	failures := 0
	for range 4 {
		m.Corrupt()
		for range 2 {
			var r edgehost.Result
			err := m.Check(t.Context(), []byte(says(id(1), "1.1.0", "")), now, &r)
			if err != nil {
				failures++
			} else if string(r.Answer) != string(want.Answer) {
				t.Errorf("answered %s", r.Answer)
			}
		}
		m.Mended()
	}
	if failures == 0 {
		t.Error("no instance failed: the test shows nothing")
	}
	for range 4 {
		if r := answer(t, m, "1.1.0"); string(r.Answer) != string(want.Answer) || r.Verdict != edgehost.Answered {
			t.Errorf("mended, it answers %d %s", r.Verdict, r.Answer)
		}
	}
	load(t, m, app, sealed(t, app, 6, "1.1.0"), edgehost.Older)
	load(t, m, other, sealed(t, other, 3, "1.1.0"), edgehost.Same)
	load(t, m, gone, sealed(t, gone, 2, "1.1.0"), edgehost.Older)
	load(t, m, gone, sealed(t, gone, 3, "1.1.0"), edgehost.Loaded)
	load(t, m, app, sealed(t, app, 8, "1.2.0"), edgehost.Loaded)
	for range 4 {
		if r := answer(t, m, "1.2.0"); r.Verdict != edgehost.Answered {
			t.Errorf("after a newer one: %d %s", r.Verdict, r.Answer)
		}
	}
}

// Snapshots that come and go leave nothing behind for good, whatever the build frees.
func TestModuleDoesNotGrow(t *testing.T) {
	const growth = 1 << 20
	key := seal.PublicKey(private)
	m, err := edgehost.NewModule(t.Context(), edgehost.ModuleConfig{
		Wasm: module(t), Keys: [][]byte{key[:]}, Instances: 2, Growth: growth, Cache: compiled, Log: quiet(),
	})
	must(t, err)
	t.Cleanup(func() { must(t, m.Close(t.Context())) })
	var others []string
	for n := range 200 {
		others = append(others, fmt.Sprintf("0.0.%d", n))
	}
	fresh, came := m.MemoryBytes()[0], 0
	const rounds = 12
	for n := range int64(rounds) {
		text := sealed(t, app, n+1, "1.1.0", others...)
		came += len(text)
		load(t, m, app, text, edgehost.Loaded)
	}
	for _, size := range m.MemoryBytes() {
		if size > fresh+2*growth {
			t.Errorf("an instance has %d bytes, a fresh one %d; snapshots of %d bytes came", size, fresh, came)
		}
	}
	if r := answer(t, m, "1.1.0"); r.Verdict != edgehost.Answered || r.Status != 200 {
		t.Errorf("it answers %d %s", r.Verdict, r.Answer)
	}
	load(t, m, app, sealed(t, app, rounds-1, "1.1.0"), edgehost.Older)
}
