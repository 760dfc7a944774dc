package main_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"
)

// runtime is where an edge runs.
type runtime struct {
	name    string
	durable bool // telemetry outlives the process
	// command returns how to start an edge there, apart from its settings.
	command func(testing.TB, *edge) *exec.Cmd
}

var runtimes = []runtime{
	{name: "node", durable: true, command: inNode},
	{name: "workerd", command: inWorkerd},
	{name: "deno", durable: true, command: inDeno},
	{name: "palier", durable: true, command: inPalier},
}

// edge is a running edge.
type edge struct {
	runtime  runtime
	dir      string // its own
	module   string // file
	cache    string // address of a cache for a Worker; none if empty
	settings map[string]string
	url      string
	*process
}

// newEdge starts an edge and waits until it listens. edit may change what is usual here.
func newEdge(t testing.TB, r runtime, originURL string, o *origin, apps []string, edit func(*edge)) *edge {
	t.Helper()
	e := &edge{runtime: r, dir: t.TempDir(), module: shippedModule, settings: map[string]string{
		"PALIER_ORIGIN": originURL, "PALIER_EDGE_TOKEN": o.token, "PALIER_APPS": strings.Join(apps, ","), "PALIER_KEYS": o.key,
		"PALIER_POLL": "1", "PALIER_GATHER": "50", "PALIER_LISTEN": "127.0.0.1:0",
	}}
	if r.durable {
		e.settings["PALIER_SPOOL"] = filepath.Join(e.dir, "spool")
	}
	if edit != nil {
		edit(e)
	}
	e.start(t)
	return e
}

// start starts the edge, again if it ran before.
func (e *edge) start(t testing.TB) {
	t.Helper()
	cmd := e.runtime.command(t, e)
	for name, value := range e.settings {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	if e.runtime.name != "workerd" {
		e.process = launch(t, cmd)
		e.url = e.says(t, `palier edge is ready at (\S+)`)
		return
	}
	e.url = "http://127.0.0.1:" + e.startWorkerd(t, cmd)
}

// startWorkerd starts workerd, which tells on a descriptor of its own where it listens.
func (e *edge) startWorkerd(t testing.TB, cmd *exec.Cmd) (port string) {
	t.Helper()
	read, write, err := os.Pipe()
	must(t, err)
	defer read.Close()
	cmd.ExtraFiles = []*os.File{write}
	e.process = launch(t, cmd)
	must(t, write.Close())
	must(t, read.SetReadDeadline(time.Now().Add(patience)))
	for said := bufio.NewScanner(read); said.Scan(); {
		var event struct {
			Event, Socket string
			Port          int
		}
		must(t, json.Unmarshal(said.Bytes(), &event))
		if event.Event == "listen" && event.Socket == "http" {
			return strconv.Itoa(event.Port)
		}
	}
	<-e.exited
	t.Fatalf("workerd did not listen: %s", e.out.tail())
	return ""
}

// status is what an edge tells its operator.
type status struct {
	Apps []struct {
		App      string
		Revision int64
		State    string
		Trouble  string
	}
	Queue  struct{ Requests, Bytes, Checks, Dropped int }
	Counts map[string]int
}

func (e *edge) status(t testing.TB) (s status) {
	t.Helper()
	a := call(t, http.MethodGet, e.url+"/edge/status", "", "Authorization", "Bearer "+e.settings["PALIER_EDGE_TOKEN"])
	if a.status != http.StatusOK {
		t.Fatalf("status: %d %s", a.status, a.body)
	}
	must(t, json.Unmarshal([]byte(a.body), &s))
	return s
}

// ready waits until the edge answers for all of its apps. Asking for that is what makes a Worker look for snapshots.
func (e *edge) ready(t testing.TB) {
	t.Helper()
	eventually(t, "the edge has all snapshots", func() bool {
		for _, a := range e.status(t).Apps {
			if a.State != "current" {
				return false
			}
		}
		return true
	})
}

// bare reports whether the module needs nothing of its host, so that it runs in the entries that ship.
func (e *edge) bare(t testing.TB) bool {
	t.Helper()
	wasm, err := os.ReadFile(e.module)
	must(t, err)
	return !bytes.Contains(wasm, []byte("wasi_snapshot_preview1"))
}

// entry returns the file to start: the one that ships, or the one that gives the module of standard Go what it asks for.
func (e *edge) entry(t testing.TB, name string) string {
	t.Helper()
	if e.bare(t) {
		return filepath.Join("host", name)
	}
	return filepath.Join("testdata", name)
}

// clean is an environment without settings of an edge.
func clean() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "NO_COLOR=1"}
}

func inNode(t testing.TB, e *edge) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), "node", e.entry(t, "node.mjs"))
	cmd.Env = append(clean(), "PALIER_MODULE="+e.module)
	return cmd
}

// inDeno gives it no more permissions than it needs.
func inDeno(t testing.TB, e *edge) *exec.Cmd {
	t.Helper()
	spool := e.settings["PALIER_SPOOL"]
	cmd := exec.CommandContext(context.Background(), binaryOf(t, "deno"), "run", "--no-config", "--no-lock", "--cached-only",
		"--allow-net", "--allow-env", "--allow-read="+filepath.Dir(e.module)+","+spool, "--allow-write="+spool, e.entry(t, "deno.mjs"))
	cmd.Env = append(clean(), "PALIER_MODULE="+e.module, "DENO_DIR="+filepath.Join(e.dir, "deno"), "DENO_NO_UPDATE_CHECK=1")
	return cmd
}

// inPalier runs the host in Go, whose settings other than addresses and secrets are flags.
func inPalier(t testing.TB, e *edge) *exec.Cmd {
	t.Helper()
	path, err := palier()
	must(t, err)
	args := []string{"edge", "--module", e.module, "--listen", e.settings["PALIER_LISTEN"], "--spool", e.settings["PALIER_SPOOL"]}
	for setting, flag := range map[string]string{"PALIER_POLL": "--poll=%ss", "PALIER_GRACE": "--grace=%ss", "PALIER_GATHER": "--gather=%sms", "PALIER_QUEUE": "--queue=%s"} {
		if value := e.settings[setting]; value != "" {
			args = append(args, fmt.Sprintf(flag, value))
		}
	}
	cmd := exec.CommandContext(context.Background(), path, args...)
	cmd.Env = clean()
	return cmd
}

// inWorkerd runs the configuration that ships, in a tree that looks like the repository's.
func inWorkerd(t testing.TB, e *edge) *exec.Cmd {
	t.Helper()
	text, err := os.ReadFile(root + "/infra/edge/cloudflare/config.capnp")
	must(t, err)
	config := string(text)
	before := func(line, more string) {
		if !strings.Contains(config, line) {
			t.Fatalf("infra/edge/cloudflare/config.capnp has no %q any more", line)
		}
		config = strings.Replace(config, line, more+"\n"+line, 1)
	}
	if !e.bare(t) {
		before(`( name = "host/worker.mjs",`, `( name = "testdata/reference.mjs", esModule = embed "../../../functions/edge/testdata/reference.mjs" ),
			( name = "testdata/wasi.mjs", esModule = embed "../../../functions/edge/testdata/wasi.mjs" ),`)
	}
	if e.cache != "" {
		before(`( name = "internet",`, `( name = "cache", external = ( address = "`+e.cache+`", http = () ) ),`)
		before(`bindings = [`, `cacheApiOutbound = "cache",`)
	}
	copied := filepath.Join(e.dir, "functions", "edge")
	must(t, copyAll(filepath.Join(copied, "host"), "host/*.mjs"))
	must(t, copyAll(filepath.Join(copied, "testdata"), "testdata/*.mjs"))
	must(t, os.Mkdir(filepath.Join(copied, "module"), 0o700))
	must(t, copyFile(filepath.Join(copied, "module", "edge.wasm"), e.module))
	file := filepath.Join(e.dir, "infra", "edge", "cloudflare", "config.capnp")
	must(t, os.MkdirAll(filepath.Dir(file), 0o700))
	must(t, os.WriteFile(file, []byte(config), 0o600))
	cmd := exec.CommandContext(context.Background(), binaryOf(t, "workerd"),
		"serve", file, "--socket-addr=http=127.0.0.1:0", "--control-fd=3")
	cmd.Env = clean()
	return cmd
}

func copyAll(to string, patterns ...string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := copyFile(filepath.Join(to, filepath.Base(file)), file); err != nil {
				return err
			}
		}
	}
	return nil
}

func copyFile(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}

// packages installs the runtimes of testdata/runtimes from npm, once on a machine, and returns the folder.
var packages = sync.OnceValues(func() (dir string, err error) {
	sum := sha256.New()
	files := map[string][]byte{}
	for _, name := range []string{"package.json", "package-lock.json"} {
		if files[name], err = os.ReadFile(filepath.Join("testdata", "runtimes", name)); err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s\n%s", name, files[name])
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(cache, "palier", "components", "edge-"+hex.EncodeToString(sum.Sum(nil)[:6]))
	return dir, installed(dir, files)
})

// installed makes dir with the packages that files name, unless it is there. Of several processes that ask at once, one
// installs.
func installed(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	lock := flock.New(dir + ".lock")
	if err := lock.Lock(); err != nil {
		return err
	}
	defer func() { _ = lock.Unlock() }()
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	half := dir + ".part"
	if err := errors.Join(os.RemoveAll(half), os.Mkdir(half, 0o700)); err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(half, name), data, 0o600); err != nil {
			return err
		}
	}
	npm := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
	npm.Dir = half
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("installing the runtimes: %w\n%s", err, out)
	}
	return os.Rename(half, dir)
}

// binaryOf returns the file of a runtime's program: npm installs the one for this machine, in a package beside the
// runtime's own.
func binaryOf(t testing.TB, name string) string {
	t.Helper()
	dir, err := packages()
	must(t, err)
	for _, pattern := range []string{"@cloudflare/" + name + "-*/bin/" + name, "@deno/*/" + name} {
		if found, _ := filepath.Glob(filepath.Join(dir, "node_modules", pattern)); len(found) == 1 {
			return found[0]
		}
	}
	t.Fatalf("no program of %s in %s", name, dir)
	return ""
}
