package device_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// serving names what a child process of the benchmark serves.
const serving = "PALIER_BENCH_SERVES"

func TestMain(m *testing.M) {
	if what := os.Getenv(serving); what != "" {
		child(what)
	}
	os.Exit(m.Run())
}

const (
	connections  = 32
	perRound     = 200 // requests of a connection in one round
	benchDevices = 1024
)

// BenchmarkHTTP sends checks over loopback TCP, 32 connections kept alive, to Palier's handler in net/http and, in
// turns, to a bare net/http handler that reads the body and writes a constant of the same length. Each server is a
// process of its own with one core, so that its processor time can be told from the client's. One op is one round of each.
func BenchmarkHTTP(b *testing.B) {
	for _, kind := range []string{"nothing_new", "offer"} {
		b.Run(kind, func(b *testing.B) {
			palier := startServer(b, "palier")
			requests := palier.requests(b, kind)
			bare := startServer(b, "bare "+strconv.Itoa(palier.bodyLength))
			bare.length = palier.length
			palier.round(b, requests)
			bare.round(b, requests)
			var mine, floor, ratio, mineRate, floorRate []float64
			for b.Loop() {
				m, f := palier.round(b, requests), bare.round(b, requests)
				mine, floor, ratio = append(mine, m.cpu), append(floor, f.cpu), append(ratio, m.cpu/f.cpu)
				mineRate, floorRate = append(mineRate, m.rate), append(floorRate, f.rate)
			}
			b.ReportMetric(median(mine), "cpu-µs/req")
			b.ReportMetric(median(floor), "bare-cpu-µs/req")
			b.ReportMetric(median(ratio), "×bare-cpu")
			b.ReportMetric(median(mineRate), "req/s")
			b.ReportMetric(median(floorRate), "bare-req/s")
			b.ReportMetric(palier.usage(b).rss, "RSS-MB")
			b.ReportMetric(bare.usage(b).rss, "bare-RSS-MB")
		})
	}
}

// server is a child process and the connections to it.
type server struct {
	in         io.Writer
	out        *bufio.Reader
	address    string
	conns      []net.Conn
	length     int // of a whole response, which is the same for all requests
	bodyLength int
}

func startServer(b *testing.B, what string) *server {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serving+"="+what, "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	s := &server{in: in, out: bufio.NewReader(out)}
	b.Cleanup(func() {
		for _, c := range s.conns {
			_ = c.Close()
		}
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
			b.Error(err)
		}
	})
	s.address = s.line(b)
	for range connections {
		c, err := net.Dial("tcp", s.address)
		if err != nil {
			b.Fatal(err)
		}
		s.conns = append(s.conns, c)
	}
	return s
}

// line returns the next line that the child says to its parent.
func (s *server) line(b *testing.B) string {
	b.Helper()
	for {
		text, err := s.out.ReadString('\n')
		if err != nil {
			b.Fatal(err)
		}
		if said, ok := strings.CutPrefix(text, childSays); ok {
			return strings.TrimSpace(said)
		}
	}
}

const childSays = "child: "

// wire is a request as a plugin sends it.
func wire(body []byte) []byte {
	return fmt.Appendf(nil, "POST /updates HTTP/1.1\r\nHost: updates.example.com\r\nUser-Agent: CapacitorUpdater/8.51.23 (%s) android/15\r\n"+
		"Content-Type: application/json; charset=utf-8\r\nAccept-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", app, len(body), body)
}

func benchBody(t testing.TB, device int, kind string, version string) []byte {
	over := fields{"version_name": version, "custom_id": "customer-20481", "install_source": "google_play", "version_code": "100"}
	if kind == "offer" {
		over["version_name"] = "builtin"
	}
	return []byte(encode(t, says(uuid(device), over)))
}

// requests returns checks that are all answered alike, as kind says, with responses of the same length.
func (s *server) requests(b *testing.B, kind string) [][]byte {
	b.Helper()
	var list [][]byte
	for i := 0; len(list) < benchDevices; i++ {
		for _, version := range []string{"1.0.1", "1.1.0"} {
			request := wire(benchBody(b, i, kind, version))
			answer := s.exchange(b, s.conns[0], request)
			_, body, _ := bytes.Cut(answer, []byte("\r\n\r\n"))
			if bytes.Contains(body, []byte(`"url"`)) != (kind == "offer") {
				continue
			}
			if s.length == 0 {
				s.length, s.bodyLength = len(answer), len(body)
			}
			if len(answer) == s.length {
				list = append(list, request)
				break
			}
		}
	}
	return list
}

// exchange sends one request and reads its response, however long.
func (s *server) exchange(b *testing.B, c net.Conn, request []byte) []byte {
	b.Helper()
	if _, err := c.Write(request); err != nil {
		b.Fatal(err)
	}
	var whole bytes.Buffer
	resp, err := http.ReadResponse(bufio.NewReader(io.TeeReader(c, &whole)), nil)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		b.Fatal(resp.Status, err)
	}
	return whole.Bytes()
}

type figures struct {
	cpu  float64 // server's processor time, µs a request
	rate float64 // requests a second
}

// round sends perRound requests on every connection at once and measures.
func (s *server) round(b *testing.B, requests [][]byte) figures {
	b.Helper()
	before, began := s.usage(b), time.Now()
	var wg sync.WaitGroup
	for i, c := range s.conns {
		wg.Go(func() {
			answer := make([]byte, s.length)
			for n := range perRound {
				if _, err := c.Write(requests[(i*perRound+n)%len(requests)]); err != nil {
					b.Error(err)
					return
				}
				if _, err := io.ReadFull(c, answer); err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 200")) {
					b.Errorf("%v %.200s", err, answer)
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	const n = connections * perRound
	return figures{cpu: (s.usage(b).cpu - before.cpu) / n, rate: n / took.Seconds()}
}

// usage asks the child for its processor time, in µs, and its resident memory.
func (s *server) usage(b *testing.B) (u struct{ cpu, rss float64 }) {
	b.Helper()
	if _, err := io.WriteString(s.in, "usage\n"); err != nil {
		b.Fatal(err)
	}
	if _, err := fmt.Sscan(s.line(b), &u.cpu, &u.rss); err != nil {
		b.Fatal(err)
	}
	return u
}

// child serves what its parent asked for until its standard input ends, and ends the process.
func child(what string) {
	serve := func(t *testing.T) {
		handler, length := http.Handler(nil), 0
		if n, _ := fmt.Sscanf(what, "bare %d", &length); n == 1 {
			handler = bareHandler(length)
		} else {
			w := newWorld(t)
			w.start()
			handler = w.handler
		}
		if err := answerParent(handler); err != nil {
			t.Error(err)
		}
	}
	every := func(string, string) (bool, error) { return true, nil }
	testing.Main(every, []testing.InternalTest{{Name: "serve", F: serve}}, nil, nil)
}

// answerParent serves and answers the parent's questions.
func answerParent(handler http.Handler) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(listener, handler) }()
	fmt.Printf("%s%s\n", childSays, listener.Addr())
	for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			return err
		}
		cpu := time.Duration(u.Utime.Nano() + u.Stime.Nano())
		fmt.Printf("%s%d %.1f\n", childSays, cpu.Microseconds(), resident())
	}
	return listener.Close()
}

// resident returns the process's resident memory in MB.
func resident() float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kB, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, _ := strconv.ParseFloat(kB, 64)
	return n / 1024
}

// bareHandler is the least that a handler of a check does in net/http: it reads the body and writes length bytes.
func bareHandler(length int) http.Handler {
	constant := bytes.Repeat([]byte("x"), length)
	contentType := []string{"application/json"}
	pool := sync.Pool{New: func() any { b := make([]byte, 2048); return &b }}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		buf := pool.Get().(*[]byte)
		defer pool.Put(buf)
		for {
			if _, err := r.Body.Read(*buf); err != nil {
				break
			}
		}
		w.Header()["Content-Type"] = contentType
		_, _ = w.Write(constant)
	})
}
