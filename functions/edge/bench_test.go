//go:build linux

package main_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	core "github.com/palier-ota/palier/internal/edge"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/seal"
)

// The benchmarks compare the module with a Worker that makes the same decision in JavaScript (testdata/bench/plain.mjs),
// in workerd, in the same run, in short rounds that alternate, so that what else the machine does falls on all.

// built is the module of one compiler.
type built struct{ name, path string }

// builds returns standard Go's build and the one that ships.
func builds(b *testing.B) []built {
	b.Helper()
	_, err := reference()
	must(b, err)
	shipped, err := filepath.Abs("module/edge.wasm")
	must(b, err)
	return []built{{"go", filepath.Join(buildDir, "reference.wasm")}, {"tinygo", shipped}}
}

const (
	quietApp      = "com.example.shop.customer.current" // without a rollout
	liveApp       = "com.example.shop.customer.release" // with one that has reached 20 %
	stableVersion = "4.0.1-hotfix.1+build.20260801"
	newVersion    = "4.0.2-hotfix.1+build.20260901"
)

var benchSalt = rollout.Salt{1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 121, 98, 219, 61}

// benchState is an app as apps are: three channels, a few bundles, and perhaps a rollout in its second phase.
func benchState(app string, live bool) rollout.State {
	s := rollout.State{
		App: rollout.App{ID: app, Name: "Shop"}, Revision: 41,
		Bundles: map[string]rollout.Bundle{}, Channels: map[string]rollout.Channel{},
	}
	for _, version := range []string{"3.9.0", "4.0.0", stableVersion, newVersion} {
		s.Bundles[version] = rollout.Bundle{
			Version: version, URL: "https://cdn.example.com/" + app + "/" + version + ".zip?key=" + strings.Repeat("k", 192),
			Checksum: strings.Repeat("c", 64), KeyID: "MIIBCgKCAQEAv3PXc9x1",
		}
	}
	for i, name := range []string{"beta", "internal", "production-eu-west"} {
		c := rollout.NewChannel(name)
		c.Bundle, c.Number, c.Public = stableVersion, int64(i+1), name == "production-eu-west"
		s.Channels[name] = c
	}
	if live {
		plan, _ := rollout.BuiltinPlan("progressive")
		s.Rollouts = map[string]rollout.Rollout{"01M0000000000000000000000A": {
			ID: "01M0000000000000000000000A", App: app, Channel: "production-eu-west", Bundle: newVersion,
			Baseline: stableVersion, State: rollout.Running, Plan: plan, Phase: 1, Salt: benchSalt,
		}}
	}
	return s
}

// checkOf is an update check of 471 bytes as an Android plugin of the 8.51 line sends it, with every field filled.
func checkOf(app, device, version string) string {
	return `{"platform":"android","device_id":"` + device + `","app_id":"` + app +
		`","custom_id":"customer-8b0d1d52-6a0e-4f2c-9a35-2f1d7c4e9b10-primary-01",` +
		`"version_build":"4.0.0","version_code":"400","version_os":"15","version_name":"` + version + `",` +
		`"plugin_version":"8.51.23","is_emulator":false,"is_prod":true,"install_source":"samsung_galaxy_store",` +
		`"defaultChannel":"production-eu-west","key_id":"MIIBCgKCAQEAv3PXc9x1"}`
}

// benchDevices are the ids of so many devices, half of them admitted to the rollout.
func benchDevices(n int) (ids []string, admitted []bool) {
	for i := 0; len(ids) < n; i++ {
		id := fmt.Sprintf("%08x-8f2e-4c64-b8d0-6a51d0c5b7a2", uint32(i)*0x9e3779b1)
		in := resolve.Position(benchSalt, id) < uint32(20*rollout.OnePercent)
		if in == (len(ids)%2 == 0) {
			ids, admitted = append(ids, id), append(admitted, in)
		}
	}
	return ids, admitted
}

// question is what the subjects are asked.
type question struct {
	name    string
	options string // of /many
	known   bool   // the devices' records are known
	checks  []string
}

// questions are the common ones.
func questions() []question {
	quiet, live := question{name: "quiet"}, question{name: "live"}
	anew, offer := question{name: "noted", options: "&anew"}, question{name: "offer", options: "&facts", known: true}
	ids, admitted := benchDevices(256)
	for i, id := range ids {
		quiet.checks = append(quiet.checks, checkOf(quietApp, id, stableVersion))
		runs := stableVersion
		if admitted[i] {
			offer.checks = append(offer.checks, checkOf(liveApp, id, stableVersion))
			runs = newVersion
		}
		live.checks = append(live.checks, checkOf(liveApp, id, runs))
	}
	anew.checks = live.checks
	return []question{quiet, live, anew, offer}
}

// bench is the apps, sealed, and the native Edge that says what is right.
type bench struct {
	specs, sealed []string
	key           seal.Key
	native        *core.Edge
}

func newBench(b *testing.B) *bench {
	b.Helper()
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	w := &bench{key: seal.PublicKey(private), native: core.New()}
	w.native.Trust(w.key[:])
	issued := time.Now().Unix()
	for _, s := range []rollout.State{benchState(quietApp, false), benchState(liveApp, true)} {
		spec, err := json.Marshal(resolve.NewSpec(s))
		must(b, err)
		header := seal.Header{App: s.App.ID, Revision: s.Revision, Issued: issued, Expires: issued + 86_400}
		sealed := seal.Sign(private, header, spec)
		if o := w.native.Load(s.App.ID, sealed, uint32(issued), 0); o != core.Loaded {
			b.Fatal(o)
		}
		w.specs, w.sealed = append(w.specs, string(spec)), append(w.sealed, string(sealed))
	}
	return w
}

// subject is a Worker in a process of its own.
type subject struct {
	url  string
	path string // for checks
	*process
}

// start starts a Worker of testdata/bench.
func (w *bench) start(b *testing.B, worker string, module built) *subject {
	b.Helper()
	var e edge
	port := e.startWorkerd(b, w.command(b, worker, module))
	return &subject{url: "http://127.0.0.1:" + port, path: "/", process: e.process}
}

// command puts a Worker into a folder and returns how it is started.
func (w *bench) command(b *testing.B, worker string, module built) *exec.Cmd {
	b.Helper()
	dir := b.TempDir()
	must(b, copyAll(dir, "testdata/bench/*.mjs", "testdata/bench/*.capnp", "testdata/wasi.mjs", "host/module.mjs"))
	xxhash := filepath.Join(peers(b), "node_modules", "xxhash-wasm", "workerd")
	must(b, copyAll(dir, xxhash+"/*.js", xxhash+"/*.wasm"))
	if module.name == "go" {
		must(b, copyFile(filepath.Join(dir, "imports.mjs"), "testdata/bench/wasiimports.mjs"))
	}
	if module.path != "" {
		must(b, copyFile(filepath.Join(dir, "edge.wasm"), module.path))
	}
	sealed, err := json.Marshal(w.sealed)
	must(b, err)
	for name, data := range map[string][]byte{
		"specs.json": []byte("[" + strings.Join(w.specs, ",") + "]"), "sealed.json": sealed, "key": w.key[:],
	} {
		must(b, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	cmd := exec.Command(binaryOf(b, "workerd"), "serve", filepath.Join(dir, worker+".capnp"), "--control-fd=3")
	cmd.Env = clean()
	return cmd
}

// peers installs the packages of testdata/bench from npm, once on a machine, and returns the folder.
func peers(b *testing.B) string {
	b.Helper()
	sum := sha256.New()
	files := map[string][]byte{}
	for _, name := range []string{"package.json", "package-lock.json"} {
		text, err := os.ReadFile(filepath.Join("testdata", "bench", name))
		must(b, err)
		files[name] = text
		fmt.Fprintf(sum, "%s\n%s", name, text)
	}
	cache, err := os.UserCacheDir()
	must(b, err)
	dir := filepath.Join(cache, "palier", "components", "edge-bench-"+hex.EncodeToString(sum.Sum(nil)[:6]))
	must(b, installed(dir, files))
	return dir
}

// processorTime is what all threads of a process have used, by the kernel's clock of that process, whose id the C
// library makes of the process's in the same way; see clock_getcpuclockid(3). It is exact, where /proc counts in
// hundredths.
func processorTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	const schedulerClock = 2
	var used syscall.Timespec
	clock := uintptr(^pid<<3 | schedulerClock)
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&used)), 0); errno != 0 {
		b.Fatalf("reading the processor time of %d: %v", pid, errno)
	}
	return time.Duration(used.Nano())
}

// residentKB is the memory of a process that is not on disk, in kilobytes.
func residentKB(b *testing.B, pid int) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	must(b, err)
	var size, resident float64
	_, err = fmt.Sscan(string(text), &size, &resident)
	must(b, err)
	return resident * float64(os.Getpagesize()) / 1024
}

func median(list []float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}

// ratio is the median of the ratios of what was measured in turns.
func ratio(mine, theirs []float64) float64 {
	ratios := make([]float64, len(mine))
	for i := range mine {
		ratios[i] = mine[i] / theirs[i]
	}
	return median(ratios)
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
