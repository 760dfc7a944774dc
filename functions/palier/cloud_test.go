package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/capgo/capgotest"
	"github.com/palier-ota/palier/internal/cloudlocal"
	"github.com/palier-ota/palier/internal/cloudlocal/guard"
	"github.com/palier-ota/palier/internal/device/devicetest"
	"github.com/palier-ota/palier/internal/fleet"
	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/store/dynamo"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/stream/kinesis"
)

// The tests of this and the next files run the serverless shape: the functions' own binaries, real servers, what
// template.yaml says.

const (
	aggregateFunction = "AggregateFunction"
	promoteFunction   = "PromoteFunction"
	resolveFunction   = "ResolveFunction"
	ingestFunction    = "IngestFunction"
)

// cloudLimit is how long the cloud may take for what takes it moments, on a machine with much else to do.
const cloudLimit = 2 * time.Minute

// builtFunctions builds the functions, at its first call, as they are deployed but for this machine, and returns their
// folder.
var builtFunctions = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(buildDir, "functions")
	for _, f := range []string{"resolve", "ingest", "aggregate", "promote", "admin", "relay"} {
		cmd := exec.Command("go", "build", "-tags", "lambda.norpc", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, f, "bootstrap"), "../"+f)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("building %s: %w\n%s", f, err, out)
		}
	}
	return dir, nil
})

// cloud is a local cloud in this process, and how operators and fleets reach it.
type cloud struct {
	*served
	*cloudlocal.Cloud

	log string // the file that it and the functions log to
}

// startCloud starts a cloud for the test, which runs beside others from then on, since clouds wait more than they work. A
// call that the template's policies deny fails the test. Batches are gathered for a second at most, if o does not say
// otherwise.
func startCloud(t *testing.T, o cloudlocal.Options) *cloud {
	t.Helper()
	t.Parallel()
	functions, err := builtFunctions()
	must(t, err)
	log, err := os.Create(filepath.Join(t.TempDir(), "cloud.log"))
	must(t, err)
	o.Template, o.Functions, o.AdminToken = "../../template.yaml", functions, testToken
	o.Output, o.Log = log, slog.New(slog.NewTextHandler(log, nil))
	if o.Parameters == nil {
		o.Parameters = map[string]string{"BatchWindowSeconds": "1"}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c, err := cloudlocal.Start(ctx, o)
	must(t, err)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("closing the cloud: %v", err)
		}
		if denied := c.Denied(); len(denied) > 0 {
			t.Errorf("%d calls were denied, the first: %+v", len(denied), denied[0])
		}
		if raw, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("the cloud's log ends:\n%s", raw[max(0, len(raw)-6000):])
		}
		_ = log.Close()
	})
	return &cloud{&served{address: strings.TrimPrefix(c.URL(), "http://"), scale: c.Clock.Scale()}, c, log.Name()}
}

func (c *cloud) url() string { return c.Cloud.URL() }

// store returns the table as its owner sees it, past the guard.
func (c *cloud) store() store.Store {
	return dynamo.New(c.Tables(), c.Template.Table.Name, dynamo.Options{})
}

// stream returns the stream as its owner sees it, past the guard.
func (c *cloud) stream(t *testing.T) stream.Stream {
	t.Helper()
	s := kinesis.New(c.Streams(), c.Template.Stream.Name, kinesis.Options{})
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// counted waits until so many records of the stream have been delivered and done with.
func (c *cloud) counted(t *testing.T, records int) {
	t.Helper()
	m := c.Mapping(aggregateFunction)
	eventually(t, cloudLimit, "all records are counted", func() bool { return m.Stats().Done >= int64(records) })
}

// owner returns the environment of a command that the cloud's owner runs.
func (c *cloud) owner() []string {
	env := os.Environ()
	owner := c.Owner()
	for _, name := range slices.Sorted(maps.Keys(owner)) {
		env = append(env, name+"="+owner[name])
	}
	return env
}

// palier runs a command against the cloud and returns what it printed and its exit code.
func (c *cloud) palier(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	cmd := command(t, args...)
	cmd.Env = append(c.owner(), "PALIER_TOKEN="+testToken, "PALIER_SERVER="+c.url())
	raw, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatalf("palier %s: %v", strings.Join(args, " "), err)
	}
	return string(raw), cmd.ProcessState.ExitCode()
}

// TestGoldenAnswersOnLambda sends every golden request through API Gateway's events to the deployed build of resolve.
func TestGoldenAnswersOnLambda(t *testing.T) {
	const dir = "../../testdata/golden"
	vectors, err := devicetest.Answers(dir)
	must(t, err)
	if len(vectors) < 200 {
		t.Fatalf("only %d golden answers: the file is not whole", len(vectors))
	}
	c := startCloud(t, cloudlocal.Options{})
	must(t, devicetest.Load(t.Context(), c.store(), dir, vectors))
	for _, v := range vectors {
		status, _, body := request(t, http.MethodPost, c.url()+"/updates", []byte(v.Body))
		if status != v.Status || string(body) != v.Answer {
			t.Errorf("%s:\nbody %s\ngot  %d %s\nwant %d %s", v.Name, v.Body, status, body, v.Status, v.Answer)
		}
	}
	stats := c.Function(resolveFunction).Stats()
	if stats.Invocations < int64(len(vectors)) || stats.Errors != 0 {
		t.Errorf("%d answers of %+v", len(vectors), stats)
	}
	t.Logf("%d answers, the same bytes as in process; %+v", len(vectors), stats)
}

// TestProtocolOnLambda plays the recorded protocol cases through the functions.
func TestProtocolOnLambda(t *testing.T) {
	cases, err := capgotest.Load("../../testdata/protocol/cases.jsonl")
	must(t, err)
	c := startCloud(t, cloudlocal.Options{SnapshotTTL: time.Nanosecond}) // an answer knows what the operator just changed
	playCases(t, c.operator(), cases)
}

// TestRecordedLogGivesTheSameTallies folds one log in a single process, and through Kinesis, Lambda and DynamoDB.
func TestRecordedLogGivesTheSameTallies(t *testing.T) {
	log := recordedLog(t, 2_500)
	want := singleProcess(t, log, recorded...)
	c := startCloud(t, cloudlocal.Options{})
	appendLog(t, c.stream(t), log)
	c.counted(t, len(log))
	checkTallies(t, merged(t, c.store(), recorded...), want, 100)
	m := c.Mapping(aggregateFunction).Stats()
	if m.Failures != 0 || m.Discarded != 0 {
		t.Errorf("%+v", m)
	}
	t.Logf("%d records in %d invocations, %d rows of tallies, byte for byte", len(log), m.Invocations, len(want))
}

// faultsOf limits faults to the calls of one function.
func faultsOf(function string, f guard.Faults) guard.Faults {
	f.Only = func(caller, _ string) bool { return caller == function }
	return f
}

// newDevice returns a device id that nobody has used.
func newDevice() string { return fleet.DeviceID(rand.Uint64(), 0) }

// TestCloudLocalCommand runs the command itself: it says where it is, devices and operators are answered, and Ctrl-C ends
// it in good order.
func TestCloudLocalCommand(t *testing.T) {
	functions, err := builtFunctions()
	must(t, err)
	ready := &firstLine{line: make(chan string, 1)}
	cmd := command(t, "cloud-local", "--listen", "127.0.0.1:0", "--functions", functions, "--template", "../../template.yaml",
		"--data", t.TempDir(), "--parameter", "BatchWindowSeconds=1")
	cmd.Stdout = ready
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var line string
	select {
	case line = <-ready.line:
	case err := <-ended:
		t.Fatalf("palier cloud-local ended at its start: %v", err)
	case <-time.After(cloudLimit):
		t.Fatal("palier cloud-local is not ready")
	}
	_, url, ok := strings.Cut(line, "ready at ")
	if !ok {
		t.Fatalf("the first line is %q", line)
	}
	s := &served{address: strings.TrimPrefix(url, "http://")}
	s.apply(t, "1.0.0")
	if status, _, body := request(t, http.MethodPost, url+"/updates", check(newDevice(), "0.9.0")); status != http.StatusOK || !strings.Contains(string(body), `"1.0.0"`) {
		t.Errorf("%d %s", status, body)
	}
	must(t, cmd.Process.Signal(os.Interrupt))
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("palier cloud-local, interrupted: %v", err)
		}
	case <-time.After(startLimit):
		t.Errorf("palier cloud-local did not stop within %s", startLimit)
	}
}

// TestCloudLocalSaysWhatIsMissing starts the command where nothing is built.
func TestCloudLocalSaysWhatIsMissing(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--functions", t.TempDir(), "--template", "../../template.yaml"}, exitFailed, "make functions"},
		{[]string{"--template", "nowhere.yaml"}, exitFailed, "nowhere.yaml"},
		{[]string{"--parameter", "Stage"}, exitUsage, "NAME=VALUE"},
	} {
		var out, errs strings.Builder
		args := append([]string{"cloud-local", "--data", t.TempDir()}, c.args...)
		if code := run(t.Context(), args, strings.NewReader(""), &out, &errs); code != c.code || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%s exits with %d: %s", c.args, code, &errs)
		}
	}
}
