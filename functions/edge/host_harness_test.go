package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// The tests of the hosts let real processes speak with each other: `palier serve` as the origin, the module in Node,
// workerd and Deno as edges, and the test as the devices. Between an edge and its origin is a gate, which sees what
// goes through and can close.

const (
	adminToken = "plr_admin-token-of-the-tests-of-the-hosts"
	// patience is for what takes moments, on a machine with much else to do.
	patience = 30 * time.Second
	root     = "../.."
)

// buildDir holds what is built while the tests run.
var buildDir string

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil { // they mostly wait for each other's processes
		panic(err)
	}
	dir, err := os.MkdirTemp("", "palier-edge-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "no directory for what the tests build:", err)
		os.Exit(1)
	}
	buildDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// palier builds the command, at its first call, and returns its path.
var palier = sync.OnceValues(func() (string, error) {
	path := filepath.Join(buildDir, "palier")
	return path, build(nil, "-o", path, root+"/functions/palier")
})

// shippedModule is the file of the module that ships, TinyGo's build.
const shippedModule = "module/edge.wasm"

func build(environment []string, args ...string) error {
	cmd := exec.Command("go", append([]string{"build"}, args...)...)
	cmd.Env = append(os.Environ(), environment...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(cmd.Args[1:], " "), err, out)
	}
	return nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually asks done again and again until it reports true, and fails the test when that takes longer than patience.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !done() {
		select {
		case <-deadline.C:
			t.Fatalf("after %s still not: %s", patience, what)
		case <-again.C:
		}
	}
}

// process is a running program. It ends with the test.
type process struct {
	cmd    *exec.Cmd
	out    *lines // both of its outputs
	exited chan struct{}
}

// launch starts a program and does not wait for it to be ready.
func launch(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, out: &lines{}, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	cmd.WaitDelay = time.Second
	must(t, cmd.Start())
	go func() {
		_ = cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(cmd.Path), p.out.tail())
		}
	})
	return p
}

// kill ends it at once, as kill -9 does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// stop asks it to end and returns its exit code.
func (p *process) stop(t testing.TB) int {
	t.Helper()
	must(t, p.cmd.Process.Signal(os.Interrupt))
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatalf("%s did not stop", p.cmd.Path)
	}
	return p.cmd.ProcessState.ExitCode()
}

// says waits for output that matches, and returns its first group.
func (p *process) says(t testing.TB, pattern string) (group string) {
	t.Helper()
	match := regexp.MustCompile(pattern)
	eventually(t, filepath.Base(p.cmd.Path)+" says "+pattern, func() bool {
		if found := match.FindStringSubmatch(p.out.String()); found != nil {
			group = found[1]
			return true
		}
		select {
		case <-p.exited:
			t.Fatalf("%s ended at its start: %s", p.cmd.Path, p.out.tail())
		default:
		}
		return false
	})
	return group
}

// lines is what a process has said so far.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) tail() string {
	text := l.String()
	return text[max(0, len(text)-4000):]
}

// origin is a `palier serve`, whose address and data stay the same when it is started again.
type origin struct {
	data, address string
	edges         []string // to be told of changes
	token         string   // of the role edge
	key           string   // that signs its snapshots
	*process
}

// newOrigin starts an origin; prepare may put something into its data directory before.
func newOrigin(t testing.TB, prepare func(data string), edges ...string) *origin {
	t.Helper()
	o := &origin{data: filepath.Join(t.TempDir(), "data"), address: freeAddress(t), edges: edges}
	must(t, os.MkdirAll(o.data, 0o700))
	if prepare != nil {
		prepare(o.data)
	}
	o.start(t)
	var made struct{ Token string }
	o.operate(t, http.MethodPost, "/tokens", map[string]string{"name": "edge", "role": "edge"}, &made)
	var keys struct{ Current struct{ Key string } }
	o.operate(t, http.MethodGet, "/keys", nil, &keys)
	o.token, o.key = made.Token, keys.Current.Key
	return o
}

func (o *origin) start(t testing.TB) {
	t.Helper()
	path, err := palier()
	must(t, err)
	args := []string{"serve", "--data", o.data, "--listen", o.address}
	for _, e := range o.edges {
		args = append(args, "--edge", e)
	}
	cmd := exec.CommandContext(context.Background(), path, args...)
	cmd.Env = append(os.Environ(), "PALIER_TOKEN="+adminToken)
	o.process = launch(t, cmd)
	o.says(t, `palier is ready at http://(\S+)`)
}

func (o *origin) url() string { return "http://" + o.address }

// operate calls the operators' API.
func (o *origin) operate(t testing.TB, method, path string, in, out any) {
	t.Helper()
	body, err := json.Marshal(in)
	must(t, err)
	a := call(t, method, o.url()+"/api/v1"+path, string(body),
		"Authorization", "Bearer "+adminToken, "Content-Type", "application/json")
	if a.status/100 != 2 {
		t.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
	}
	if out != nil {
		must(t, json.Unmarshal([]byte(a.body), out))
	}
}

// freeAddress is a loopback address that nobody listened on a moment ago.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, l.Close())
	return l.Addr().String()
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

var client = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// call sends a request with headers given as names and values. It fails the test if there is no answer.
func call(t testing.TB, method, url, body string, headers ...string) answer {
	t.Helper()
	a, err := send(method, url, strings.NewReader(body), headers...)
	must(t, err)
	return a
}

func send(method, url string, body io.Reader, headers ...string) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(text)}, err
}

// announce sends the head of a request whose body would have so many bytes, and returns the answer, which must not wait
// for them.
func announce(t testing.TB, method, url, path string, size int) answer {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: edge\r\nContent-Length: %d\r\n\r\n", method, path, size)
	must(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(t, err)
	return answer{res.StatusCode, res.Header, string(text)}
}
