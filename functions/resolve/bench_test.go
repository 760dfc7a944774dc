//go:build linux

package main_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/palier-ota/palier/internal/cloudlocal/component"
	"github.com/palier-ota/palier/internal/cloudlocal/gateway"
	"github.com/palier-ota/palier/internal/cloudlocal/runtimeapi"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/store/dynamo"
)

// version is what the device runs and what its channel has: the common case, answered without an offer.
const version = "4.0.1-hotfix.1+build.20260801"

// check is an update check of 471 bytes as an Android plugin of the 8.51 line sends it, with every field filled.
const check = `{"platform":"android","device_id":"c3a1f1de-8f2e-4c64-b8d0-6a51d0c5b7a2",` +
	`"app_id":"com.example.shop.customer.release","custom_id":"customer-8b0d1d52-6a0e-4f2c-9a35-2f1d7c4e9b10-primary-01",` +
	`"version_build":"4.0.0","version_code":"400","version_os":"15","version_name":"` + version + `",` +
	`"plugin_version":"8.51.23","is_emulator":false,"is_prod":true,"install_source":"samsung_galaxy_store",` +
	`"defaultChannel":"production-eu-west","key_id":"MIIBCgKCAQEAv3PXc9x1"}`

// starts is how many cold starts of each program one op of BenchmarkColdStart compares.
const starts = 20

// BenchmarkColdStart starts resolve and the bare function in turns, from the process to its first poll and to its first
// answer, for which resolve reads the app's Snapshot. It compares answers with a table that is at once there with what
// DynamoDB Local said before, since a Java server on the same processors takes longer than all else; the time with the
// real one is told as well.
func BenchmarkColdStart(b *testing.B) {
	w := newWorld(b)
	replayed := w.resolve
	replayed.Env = maps.Clone(w.resolve.Env)
	replayed.Env["AWS_ENDPOINT_URL_DYNAMODB"] = replay(b, w.resolve.Env["AWS_ENDPOINT_URL_DYNAMODB"])
	var mine, bare, local coldStarts
	mine.measure(b, replayed, w.event) // records
	mine = coldStarts{}
	for b.Loop() {
		for range starts {
			mine.measure(b, replayed, w.event)
			bare.measure(b, w.bare, w.event)
		}
		local.measure(b, w.resolve, w.event)
	}
	compare(b, "poll-ms", mine.poll, bare.poll)
	compare(b, "answer-ms", mine.answer, bare.answer)
	b.ReportMetric(median(local.answer), "dynamodb-local-answer-ms")
	b.ReportMetric(megabytes(b, w.resolve.Bootstrap), "MB")
	b.ReportMetric(megabytes(b, w.bare.Bootstrap), "bare-MB")
	b.ReportMetric(0, "ns/op") // of both together, which says nothing
}

// coldStarts are times in milliseconds since before the process was started.
type coldStarts struct{ poll, answer []float64 }

func (c *coldStarts) measure(b *testing.B, f runtimeapi.Function, event []byte) {
	b.Helper()
	pool := start(b, f)
	defer pool.Close()
	result := invoke(b, pool, event)
	c.poll = append(c.poll, milliseconds(result.Init))
	c.answer = append(c.answer, milliseconds(result.Init+result.Duration))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// replay is a server before the one at url that asks it each question only once.
func replay(b *testing.B, url string) string {
	b.Helper()
	type answer struct {
		status int
		header http.Header
		body   []byte
	}
	ask := func(r *http.Request, question []byte) (answer, error) {
		on, err := http.NewRequestWithContext(b.Context(), r.Method, url, bytes.NewReader(question))
		if err != nil {
			return answer{}, err
		}
		on.Header = r.Header.Clone()
		resp, err := http.DefaultClient.Do(on)
		if err != nil {
			return answer{}, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return answer{resp.StatusCode, resp.Header, body}, err
	}
	var mu sync.Mutex
	answers := map[string]answer{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		question, err := io.ReadAll(r.Body)
		key := r.Header.Get("X-Amz-Target") + string(question)
		known, ok := answers[key]
		if !ok && err == nil {
			known, err = ask(r, question)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway) // which resolve survives and invoke notices
			return
		}
		answers[key] = known
		maps.Copy(w.Header(), known.header)
		w.WriteHeader(known.status)
		_, _ = w.Write(known.body)
	}))
	b.Cleanup(server.Close)
	return server.URL
}

// Warm invocations are compared in short rounds, so that what else the machine does falls on both, and in many of them.
const (
	rounds   = 101
	perRound = 100
)

// BenchmarkWarm compares, of processes that are not frozen, the processor time, user and system, that one warm
// invocation costs the process of resolve with what it costs the bare function, which answers the same bytes.
func BenchmarkWarm(b *testing.B) {
	w := newWorld(b)
	w.resolve.Awake, w.bare.Awake = true, true
	palier, bare := start(b, w.resolve), start(b, w.bare)
	defer palier.Close()
	defer bare.Close()
	for range 10 {
		round(b, palier, w.event)
		round(b, bare, w.event)
	}
	var mine, floor, ratio []float64
	for b.Loop() {
		for range rounds {
			m, f := round(b, palier, w.event), round(b, bare, w.event)
			mine, floor, ratio = append(mine, m), append(floor, f), append(ratio, m/f)
		}
	}
	b.ReportMetric(median(mine), "cpu-µs")
	b.ReportMetric(median(floor), "bare-cpu-µs")
	b.ReportMetric(median(ratio), "×bare-cpu")
	b.ReportMetric(0, "ns/op") // of both together, which says nothing
}

// round returns the microseconds of processor time of an invocation, the mean of many.
func round(b *testing.B, p *runtimeapi.Pool, event []byte) float64 {
	b.Helper()
	invoke(b, p, event)
	pid := p.Processes()[0]
	before := processorTime(b, pid)
	for range perRound {
		invoke(b, p, event)
	}
	return float64((processorTime(b, pid) - before).Nanoseconds()) / 1e3 / perRound
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

// compare reports the medians of what was measured in turns, and the ratios of the medians and of the minima. On a
// machine with other work the minima tell most.
func compare(b *testing.B, unit string, mine, bare []float64) {
	b.Helper()
	b.ReportMetric(median(mine), unit)
	b.ReportMetric(median(bare), "bare-"+unit)
	b.ReportMetric(median(mine)/median(bare), "×bare-"+unit)
	b.ReportMetric(slices.Min(mine)/slices.Min(bare), "×bare-min-"+unit)
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

func megabytes(b *testing.B, path string) float64 {
	b.Helper()
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	return float64(info.Size()) / 1e6
}

func start(b *testing.B, f runtimeapi.Function) *runtimeapi.Pool {
	b.Helper()
	p, err := runtimeapi.Start(f)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

func invoke(b *testing.B, p *runtimeapi.Pool, event []byte) runtimeapi.Result {
	b.Helper()
	result, err := p.Invoke(b.Context(), event)
	if err != nil || result.FunctionError != "" {
		b.Fatalf("%s %s %v", result.FunctionError, result.Payload, err)
	}
	return result
}

// world is the two functions, built the same way, the table that resolve reads, and the event that both get.
type world struct {
	resolve, bare runtimeapi.Function
	event         []byte
}

func newWorld(b *testing.B) *world {
	b.Helper()
	bin := b.TempDir()
	build(b, filepath.Join(bin, "resolve"), ".")
	build(b, filepath.Join(bin, "bare"), "./testdata/bare")
	server, table := seededTable(b)
	function := func(name string, env map[string]string) runtimeapi.Function {
		return runtimeapi.Function{
			Name: name, Bootstrap: filepath.Join(bin, name), Env: env, Timeout: 10 * time.Second, Concurrency: 1,
			Log: slog.New(slog.DiscardHandler),
		}
	}
	w := &world{event: checkEvent(b)}
	w.resolve = function("resolve", map[string]string{
		"AWS_REGION": component.Region, "AWS_ACCESS_KEY_ID": server.AccessKey, "AWS_SECRET_ACCESS_KEY": server.Secret,
		"AWS_ENDPOINT_URL_DYNAMODB": server.URL,
		"PALIER_TABLE":              table, "PALIER_STREAM": "none-is-needed", "PALIER_STATE": "none-is-needed",
	})
	w.bare = function("bare", map[string]string{"AWS_REGION": component.Region, "BARE_ANSWER": w.firstAnswer(b)})
	return w
}

// firstAnswer is what resolve says to the event, which must be that there is nothing new.
func (w *world) firstAnswer(b *testing.B) string {
	b.Helper()
	pool := start(b, w.resolve)
	defer pool.Close()
	answer := string(invoke(b, pool, w.event).Payload)
	var says struct {
		StatusCode int
		Body       string
	}
	if err := json.Unmarshal([]byte(answer), &says); err != nil {
		b.Fatal(err)
	}
	if says.StatusCode != http.StatusOK || !strings.Contains(says.Body, `"no_new_version_available"`) {
		b.Fatalf("resolve says %s", answer)
	}
	return answer
}

// build compiles a program as template.yaml's functions are compiled, for this machine.
func build(b *testing.B, to, program string) {
	b.Helper()
	cmd := exec.Command("go", "build", "-tags", "lambda.norpc", "-trimpath", "-ldflags", "-s -w", "-o", to, program)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("building %s: %v\n%s", program, err, out)
	}
}

// checkEvent is the check as API Gateway would send it on.
func checkEvent(b *testing.B) []byte {
	b.Helper()
	if len(check) != 471 {
		b.Fatalf("the check has %d bytes", len(check))
	}
	var event []byte
	api, err := gateway.New([]gateway.Route{{
		Method: "POST", Path: "/updates",
		Invoke: func(_ context.Context, e []byte) ([]byte, string, error) {
			event = slices.Clone(e)
			return []byte(`{}`), "", nil
		},
	}}, gateway.Options{Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	const url = "https://abcdefghij.execute-api.eu-west-1.amazonaws.com/updates"
	r := httptest.NewRequest(http.MethodPost, url, strings.NewReader(check))
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("User-Agent", "CapacitorUpdater/8.51.23 (com.example.shop.customer.release) android/15")
	r.Header.Set("Accept-Encoding", "gzip")
	api.ServeHTTP(httptest.NewRecorder(), r)
	return event
}

// seededTable returns a DynamoDB Local and the name of a table there with the app.
func seededTable(b *testing.B) (*component.Server, string) {
	b.Helper()
	server, err := component.DynamoDB(b.Context(), component.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = server.Close() })
	client := dynamodb.New(dynamodb.Options{
		BaseEndpoint: &server.URL, Region: component.Region,
		Credentials: credentials.NewStaticCredentialsProvider(server.AccessKey, server.Secret, ""),
	})
	table := aws.String("palier")
	key := func(name string, kind types.KeyType) types.KeySchemaElement {
		return types.KeySchemaElement{AttributeName: aws.String(name), KeyType: kind}
	}
	text := func(name string) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: aws.String(name), AttributeType: types.ScalarAttributeTypeS}
	}
	if _, err := client.CreateTable(b.Context(), &dynamodb.CreateTableInput{
		TableName: table, BillingMode: types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{key("pk", types.KeyTypeHash), key("sk", types.KeyTypeRange)},
		AttributeDefinitions: []types.AttributeDefinition{text("pk"), text("sk")},
	}); err != nil {
		b.Fatal(err)
	}
	engine := dynamo.New(client, *table, dynamo.Options{Now: time.Now})
	apps := store.Apps{Store: engine, NewID: store.NewULID(rand.Reader)}
	if _, err := apps.Commit(b.Context(), rollout.State{}, shop(), nil); err != nil {
		b.Fatal(err)
	}
	return server, *table
}

// shop is the app that asks.
func shop() rollout.State {
	channel := rollout.NewChannel("production-eu-west")
	channel.Public, channel.Bundle, channel.Number = true, version, 1
	return rollout.State{
		App: rollout.App{ID: "com.example.shop.customer.release", Name: "Shop"},
		Bundles: map[string]rollout.Bundle{version: {
			Version: version, URL: "https://cdn.example.com/shop/4.0.1.zip", Checksum: strings.Repeat("c", 64),
		}},
		Channels: map[string]rollout.Channel{channel.Name: channel},
	}
}
