package runtimeapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/palier-ota/palier/internal/cloudlocal/runtimeapi"
)

// behaviour names what this test program does when it is started as a function's bootstrap.
const behaviour = "TEST_BOOTSTRAP"

func TestMain(m *testing.M) {
	if what := os.Getenv(behaviour); what != "" {
		bootstraps[what]()
		return
	}
	os.Exit(m.Run())
}

var bootstraps = map[string]func(){
	"lambda":     func() { lambda.Start(serve) },
	"init exits": func() { os.Exit(7) },
	"init error": initError,
	"init hangs": func() { time.Sleep(time.Hour) }, // nothing but a select would be a deadlock, which Go ends
	"raw":        rawRuntime,
	"clock":      clock,
	"host":       host,
}

// request is what a test asks of the "lambda" bootstrap.
type request struct {
	Do      string        `json:"do"`
	Text    string        `json:"text,omitempty"`
	Bytes   int           `json:"bytes,omitempty"`
	For     time.Duration `json:"for,omitempty"`
	Touches string        `json:"touches,omitempty"` // a file to make once the request has arrived
}

// reply is what it answers.
type reply struct {
	Text     string
	PID      int
	ID, ARN  string
	Deadline time.Time
	Env      map[string]string
}

func serve(ctx context.Context, r request) (any, error) {
	if r.Touches != "" {
		if err := os.WriteFile(r.Touches, nil, 0o600); err != nil {
			return nil, err
		}
	}
	switch r.Do {
	case "sleep":
		time.Sleep(r.For)
	case "wait for": // until another gives the sign
		for _, err := os.Stat(r.Text); err != nil; _, err = os.Stat(r.Text) {
			time.Sleep(time.Millisecond)
		}
	case "exit":
		os.Exit(3)
	case "panic":
		panic("no such luck")
	case "fail":
		return nil, errors.New(r.Text)
	case "large":
		return strings.Repeat("x", r.Bytes-len(`""`)), nil
	case "break off":
		return io.MultiReader(strings.NewReader("half of it"), broken{}), nil
	case "print":
		fmt.Fprint(os.Stdout, r.Text)
	}
	lc, _ := lambdacontext.FromContext(ctx)
	deadline, _ := ctx.Deadline()
	return reply{r.Text, os.Getpid(), lc.AwsRequestID, lc.InvokedFunctionArn, deadline, environ()}, nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("the reader broke") }

func environ() map[string]string {
	env := map[string]string{}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	return env
}

// runtimeCall makes one call of the Runtime API and returns its status and body.
func runtimeCall(method, path, body string) (http.Header, string) {
	url := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/" + path
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		panic(err)
	}
	return resp.Header, resp.Status + " " + strings.TrimSpace(string(text))
}

func initError() {
	_, said := runtimeCall("POST", "init/error", `{"errorMessage":"no table","errorType":"Config.Missing"}`)
	fmt.Println(said)
	select {} // the host ends it
}

// rawRuntime makes every call at a wrong moment once, and answers each event with what it was told so far.
func rawRuntime() {
	var told []string
	tell := func(method, path, body string) http.Header {
		h, said := runtimeCall(method, path, body)
		told = append(told, said)
		return h
	}
	tell("POST", "invocation/none/response", `{}`)
	for {
		h, _ := runtimeCall("GET", "invocation/next", "")
		id := h.Get("Lambda-Runtime-Aws-Request-Id")
		tell("GET", "invocation/next", "")
		tell("POST", "init/error", `{}`)
		tell("POST", "invocation/wrong/response", `{}`)
		tell("POST", "invocation/wrong/error", `{}`)
		answer, err := json.Marshal(told)
		if err != nil {
			panic(err)
		}
		told = nil
		tell("POST", "invocation/"+id+"/response", string(answer))
		tell("POST", "invocation/"+id+"/response", `{}`)
		tell("POST", "invocation/"+id+"/error", `{}`)
	}
}

// clock answers with nothing and counts time into a file, a byte for each millisecond that it lives through.
func clock() {
	file, err := os.OpenFile(os.Getenv("TEST_TICKS"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		panic(err)
	}
	go func() {
		for {
			if _, err := file.Write([]byte{'.'}); err != nil {
				panic(err)
			}
			time.Sleep(time.Millisecond)
		}
	}()
	lambda.Start(func() {})
}

// host is a program that runs a function, leaves it frozen, and says its process id.
func host() {
	p, err := runtimeapi.Start(function("lambda"))
	if err != nil {
		panic(err)
	}
	if _, err := p.Invoke(context.Background(), []byte(`{}`)); err != nil {
		panic(err)
	}
	fmt.Println(p.Processes()[0])
	select {}
}

// pool starts a Pool on this test program; it is closed with the test.
func pool(t *testing.T, what string, change ...func(*runtimeapi.Function)) *runtimeapi.Pool {
	t.Helper()
	f := function(what)
	for _, c := range change {
		c(&f)
	}
	p, err := runtimeapi.Start(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func function(what string) runtimeapi.Function {
	self, err := filepath.Abs(os.Args[0])
	if err != nil {
		panic(err)
	}
	return runtimeapi.Function{
		Name: "shop-resolve", Bootstrap: self, Timeout: time.Minute, Concurrency: 4,
		Env: map[string]string{behaviour: what, "AWS_REGION": "eu-west-1", "COLOUR": "blue"},
		Log: slog.New(slog.DiscardHandler),
	}
}

// ask invokes the "lambda" bootstrap and demands a reply.
func ask(t *testing.T, p *runtimeapi.Pool, r request) (reply, runtimeapi.Result) {
	t.Helper()
	result := invoke(t, p, r)
	if result.FunctionError != "" {
		t.Fatalf("%+v: %s %s", r, result.FunctionError, result.Payload)
	}
	var answer reply
	if err := json.Unmarshal(result.Payload, &answer); err != nil {
		t.Fatalf("%+v: %v in %.200s", r, err, result.Payload)
	}
	return answer, result
}

// invoke demands that the function ran, whatever came of it.
func invoke(t *testing.T, p *runtimeapi.Pool, r request) runtimeapi.Result {
	t.Helper()
	result, err := p.Invoke(t.Context(), event(t, r))
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	return result
}

func event(t *testing.T, r request) []byte {
	t.Helper()
	payload, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// refused demands a failed invocation of this type, with this in its message.
func refused(t *testing.T, result runtimeapi.Result, kind, message string) {
	t.Helper()
	var document struct{ ErrorType, ErrorMessage string }
	if err := json.Unmarshal(result.Payload, &document); err != nil {
		t.Fatalf("error document %q: %v", result.Payload, err)
	}
	if result.FunctionError != kind || document.ErrorType != kind || !strings.Contains(document.ErrorMessage, message) {
		t.Errorf("%q with %s, want %s with %q", result.FunctionError, result.Payload, kind, message)
	}
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// exists tells whether the file is there.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// alive reports whether the process exists.
func alive(pid int) bool {
	process, err := os.FindProcess(pid)
	return err == nil && process.Signal(syscall.Signal(0)) == nil
}

// output collects what the functions print.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
