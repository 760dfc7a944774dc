package runtimeapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/cloudlocal/runtimeapi"
)

func TestEventAndAnswer(t *testing.T) {
	t.Parallel()
	p := pool(t, "lambda", func(f *runtimeapi.Function) { f.Timeout = 17 * time.Second })
	before := time.Now()
	first, cold := ask(t, p, request{Text: "grüße \u0000 \U0001f6f0"})
	second, warm := ask(t, p, request{Text: "again"})
	if first.Text != "grüße \u0000 \U0001f6f0" || second.Text != "again" {
		t.Errorf("texts came back as %q and %q", first.Text, second.Text)
	}
	if first.ARN != "arn:aws:lambda:eu-west-1:123456789012:function:shop-resolve" {
		t.Errorf("ARN %q", first.ARN)
	}
	if len(first.ID) != 36 || first.ID == second.ID {
		t.Errorf("request ids %q and %q", first.ID, second.ID)
	}
	if earliest := before.Add(17 * time.Second).Truncate(time.Millisecond); first.Deadline.Before(earliest) {
		t.Errorf("deadline %v, before %v", first.Deadline, earliest)
	}
	if !cold.Cold || cold.Init <= 0 || warm.Cold || warm.Init != 0 || warm.Duration <= 0 {
		t.Errorf("cold start %+v, then %+v", cold, warm)
	}
	if s := p.Stats(); s != (runtimeapi.Stats{Invocations: 2, Cold: 1, Idle: 1}) {
		t.Errorf("%+v", s)
	}
}

// What a function finds in its environment is what Lambda documents, its own variables, and nothing of ours.
func TestEnvironment(t *testing.T) {
	t.Setenv("SECRET_OF_THE_HOST", "1")
	p := pool(t, "lambda", func(f *runtimeapi.Function) { f.Env["AWS_LAMBDA_FUNCTION_NAME"] = "forged" })
	answer, _ := ask(t, p, request{})
	want := map[string]string{
		"AWS_LAMBDA_FUNCTION_NAME": "shop-resolve", "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128", "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/shop-resolve", "LAMBDA_RUNTIME_DIR": "/var/runtime",
		"LAMBDA_TASK_ROOT": filepath.Dir(absolute(t, os.Args[0])), "_HANDLER": filepath.Base(os.Args[0]),
		"AWS_REGION": "eu-west-1", "COLOUR": "blue", behaviour: "lambda",
		"TZ": ":UTC", "LANG": "en_US.UTF-8", "PATH": "/usr/local/bin:/usr/bin/:/bin:/opt/bin",
	}
	for name, value := range want {
		if answer.Env[name] != value {
			t.Errorf("%s is %q, want %q", name, answer.Env[name], value)
		}
	}
	for _, name := range []string{"AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_LOG_STREAM_NAME", "_X_AMZN_TRACE_ID"} {
		if answer.Env[name] == "" {
			t.Errorf("%s is not set", name)
		}
		want[name] = ""
	}
	for name := range maps.Keys(answer.Env) {
		if _, known := want[name]; !known {
			t.Errorf("%s was inherited", name)
		}
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// Invocations at the same time have a process each; afterwards the one used last is used next.
func TestOneProcessPerConcurrentInvocation(t *testing.T) {
	t.Parallel()
	p := pool(t, "lambda")
	sign := filepath.Join(t.TempDir(), "sign")
	slow := make(chan reply)
	go func() {
		answer, _ := ask(t, p, request{Do: "wait for", Text: sign})
		slow <- answer
	}()
	eventually(t, "the slow invocation runs", func() bool { return p.Stats().Busy == 1 })
	quick, _ := ask(t, p, request{})
	if err := os.WriteFile(sign, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	last := <-slow
	if last.PID == quick.PID {
		t.Fatal("one process had two invocations at the same time")
	}
	for range 3 {
		if next, _ := ask(t, p, request{}); next.PID != last.PID {
			t.Errorf("process %d, want %d, which was used last", next.PID, last.PID)
		}
	}
	if s := p.Stats(); s.Cold != 2 || s.Idle != 2 || s.Busy != 0 || len(p.Processes()) != 2 {
		t.Errorf("%+v", s)
	}
}

func TestTimeoutKillsTheProcess(t *testing.T) {
	t.Parallel()
	p := pool(t, "lambda", func(f *runtimeapi.Function) { f.Timeout = 1500 * time.Millisecond })
	before, _ := ask(t, p, request{})
	result := invoke(t, p, request{Do: "sleep", For: time.Hour})
	refused(t, result, "Sandbox.Timedout", "Task timed out after 1.50 seconds")
	if alive(before.PID) {
		t.Error("the process lives on")
	}
	if after, again := ask(t, p, request{}); after.PID == before.PID || !again.Cold {
		t.Error("the invocation after a timeout needs a new process")
	}
}

func TestProcessesThatEnd(t *testing.T) {
	t.Parallel()
	tests := []struct{ do, kind, message string }{
		{"exit", "Runtime.ExitError", "Runtime exited with error: exit status 3"},
		{"panic", "string", "no such luck"}, // reported by the runtime before it exits
	}
	for _, test := range tests {
		t.Run(test.do, func(t *testing.T) {
			t.Parallel()
			p := pool(t, "lambda")
			refused(t, invoke(t, p, request{Do: test.do}), test.kind, test.message)
			if _, again := ask(t, p, request{}); !again.Cold {
				t.Error("the next invocation needs a new process")
			}
			if s := p.Stats(); s.Errors != 1 || s.Cold != 2 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A function's own error is its answer: the process stays.
func TestFunctionError(t *testing.T) {
	t.Parallel()
	p := pool(t, "lambda")
	refused(t, invoke(t, p, request{Do: "fail", Text: "table is gone"}), "errorString", "table is gone")
	refused(t, invoke(t, p, request{Do: "break off"}), "errorString", "the reader broke")
	if s := p.Stats(); s.Errors != 2 || s.Cold != 1 {
		t.Errorf("%+v", s)
	}
}

func TestFailedInit(t *testing.T) {
	t.Parallel()
	tests := []struct{ bootstrap, kind, message string }{
		{"init exits", "Runtime.ExitError", "Runtime exited with error: exit status 7"},
		{"init error", "Config.Missing", "no table"},
		{"init hangs", "Sandbox.Timedout", "Init timed out after 1.50 seconds"},
	}
	for _, test := range tests {
		t.Run(test.bootstrap, func(t *testing.T) {
			t.Parallel()
			p := pool(t, test.bootstrap, func(f *runtimeapi.Function) { f.InitTimeout = 1500 * time.Millisecond })
			result := invoke(t, p, request{})
			refused(t, result, test.kind, test.message)
			if !result.Cold || result.Init <= 0 {
				t.Errorf("%+v", result)
			}
			eventually(t, "the process is gone", func() bool { return len(p.Processes()) == 0 })
		})
	}
}

func TestConcurrencyLimit(t *testing.T) {
	t.Parallel()
	sign := filepath.Join(t.TempDir(), "sign")
	p := pool(t, "lambda", func(f *runtimeapi.Function) { f.Concurrency = 1 })
	slow := make(chan error, 1)
	go func() {
		_, err := p.Invoke(t.Context(), event(t, request{Do: "wait for", Text: sign}))
		slow <- err
	}()
	eventually(t, "the slow invocation runs", func() bool { return p.Stats().Busy == 1 })
	if _, err := p.Invoke(t.Context(), event(t, request{})); !errors.Is(err, runtimeapi.ErrTooManyRequests) {
		t.Errorf("at the limit: %v", err)
	}
	if err := os.WriteFile(sign, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-slow; err != nil {
		t.Fatal(err)
	}
	for range 20 { // one after the other never meet the limit
		ask(t, p, request{})
	}
	if s := p.Stats(); s.Throttled != 1 || s.Cold != 1 {
		t.Errorf("%+v", s)
	}
}

func TestManyShareFewProcesses(t *testing.T) {
	t.Parallel()
	p := pool(t, "lambda", func(f *runtimeapi.Function) { f.Concurrency, f.Wait = 2, time.Minute })
	var callers sync.WaitGroup
	for caller := range 8 {
		callers.Go(func() {
			for n := range 20 {
				text := fmt.Sprintf("%d of %d", n, caller)
				result, err := p.Invoke(t.Context(), event(t, request{Text: text}))
				if err != nil || !strings.Contains(string(result.Payload), `"`+text+`"`) {
					t.Errorf("%s: %s %v", text, result.Payload, err)
				}
			}
		})
	}
	callers.Wait()
	if s := p.Stats(); s.Invocations != 160 || s.Cold > 2 || s.Throttled != 0 {
		t.Errorf("%+v", s)
	}
}

func TestPayloadLimits(t *testing.T) {
	t.Parallel()
	p := pool(t, "lambda")
	around := len(`{"do":"large","text":"","bytes":12}`)
	largest := event(t, request{Text: strings.Repeat("y", 6<<20-around), Do: "large", Bytes: 12})
	if result, err := p.Invoke(t.Context(), largest); err != nil || len(result.Payload) != 12 || len(largest) != 6<<20 {
		t.Errorf("an event of %d bytes: %.100s %v", len(largest), result.Payload, err)
	}
	if _, err := p.Invoke(t.Context(), append(largest, ' ')); !errors.Is(err, runtimeapi.ErrRequestTooLarge) {
		t.Errorf("an event over the limit: %v", err)
	}
	const limit = runtimeapi.MaxResponseBytes
	if result := invoke(t, p, request{Do: "large", Bytes: limit}); len(result.Payload) != 6<<20+100 {
		t.Errorf("the largest response: %s, %d bytes", result.FunctionError, len(result.Payload))
	}
	refused(t, invoke(t, p, request{Do: "large", Bytes: limit + 1}), "Function.ResponseSizeTooLarge",
		"Response payload size exceeded maximum allowed payload size (6291556 bytes).")
	ask(t, p, request{})
}

// A runtime that calls at the wrong moment, or for another invocation, is told so and nothing comes of it.
func TestCallsAtTheWrongMoment(t *testing.T) {
	t.Parallel()
	p := pool(t, "raw")
	const wrongID = `400 Bad Request {"errorType":"InvalidRequestID","errorMessage":"Invalid request ID"}`
	running := []string{"Running to Ready", "Running to InitError"}
	sent := []string{"ResponseSent to ResponseSent", "ResponseSent to ResponseSent"}
	for turn, want := range [][]string{
		slices.Concat([]string{"Starting to ResponseSent"}, running, []string{wrongID, wrongID}),
		slices.Concat([]string{`202 Accepted {"status":"OK"}`}, sent, running, []string{wrongID, wrongID}),
	} {
		result := invoke(t, p, request{})
		var told []string
		if err := json.Unmarshal(result.Payload, &told); err != nil || len(told) != len(want) {
			t.Fatalf("turn %d: told %s", turn, result.Payload)
		}
		for i := range told {
			if from, to, ok := strings.Cut(want[i], " to "); ok {
				want[i] = fmt.Sprintf(`403 Forbidden {"errorType":"InvalidStateTransition",`+
					`"errorMessage":"Transition from %s to %s is not allowed"}`, from, to)
			}
			if told[i] != want[i] {
				t.Errorf("turn %d, call %d: told %s, want %s", turn, i, told[i], want[i])
			}
		}
	}
}

func TestIdleSandboxesRetire(t *testing.T) {
	t.Parallel()
	p := pool(t, "lambda", func(f *runtimeapi.Function) { f.IdleFor = 50 * time.Millisecond })
	answer, _ := ask(t, p, request{})
	eventually(t, "the process is retired", func() bool { return !alive(answer.PID) })
	if s := p.Stats(); s.Retired != 1 || s.Idle != 0 {
		t.Errorf("%+v", s)
	}
	if _, again := ask(t, p, request{}); !again.Cold {
		t.Error("warm without a process")
	}
}

func TestKill(t *testing.T) {
	t.Parallel()
	p := pool(t, "lambda")
	if p.Kill() {
		t.Error("killed something before anything ran")
	}
	arrived := filepath.Join(t.TempDir(), "arrived")
	slow := make(chan runtimeapi.Result)
	go func() { slow <- invoke(t, p, request{Do: "sleep", For: time.Hour, Touches: arrived}) }()
	eventually(t, "the event arrived", func() bool { return exists(arrived) })
	if !p.Kill() {
		t.Error("nothing to kill")
	}
	refused(t, <-slow, "Runtime.ExitError", "Runtime exited with error: signal: killed")
	ask(t, p, request{})
}

func TestCloseEndsEverything(t *testing.T) {
	t.Parallel()
	p := pool(t, "lambda")
	arrived := filepath.Join(t.TempDir(), "arrived")
	idle, _ := ask(t, p, request{})
	slow := make(chan runtimeapi.Result, 2)
	for range 2 {
		go func() { slow <- invoke(t, p, request{Do: "sleep", For: time.Hour, Touches: arrived}) }()
	}
	eventually(t, "both run", func() bool { return p.Stats().Busy == 2 && exists(arrived) })
	pids := append(p.Processes(), idle.PID)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %d lives on", pid)
		}
	}
	for range 2 {
		refused(t, <-slow, "Runtime.ExitError", "signal: killed")
	}
	if _, err := p.Invoke(t.Context(), nil); !errors.Is(err, runtimeapi.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}

// A caller that leaves does not stop the function.
func TestFunctionRunsOnWithoutItsCaller(t *testing.T) {
	t.Parallel()
	p := pool(t, "lambda", func(f *runtimeapi.Function) { f.Concurrency = 1 })
	dir := t.TempDir()
	sign, arrived := filepath.Join(dir, "sign"), filepath.Join(dir, "arrived")
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := p.Invoke(ctx, event(t, request{Do: "wait for", Text: sign, Touches: arrived}))
		left <- err
	}()
	eventually(t, "the event arrived", func() bool { return exists(arrived) })
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the caller left: %v", err)
	}
	if _, err := p.Invoke(t.Context(), nil); !errors.Is(err, runtimeapi.ErrTooManyRequests) {
		t.Errorf("while it runs on: %v", err)
	}
	if err := os.WriteFile(sign, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it comes to its end", func() bool { return p.Stats().Idle == 1 })
	if _, next := ask(t, p, request{}); next.Cold {
		t.Error("its process was not kept")
	}
}

func TestOutputByLines(t *testing.T) {
	t.Parallel()
	var printed output
	p := pool(t, "lambda", func(f *runtimeapi.Function) { f.Output = &printed })
	ask(t, p, request{Do: "print", Text: "one\ntw"})
	eventually(t, "the first line is out", func() bool { return printed.String() == "one\n" })
	ask(t, p, request{Do: "print", Text: "o\nlast"})
	eventually(t, "the second line is out", func() bool { return printed.String() == "one\ntwo\n" })
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if printed.String() != "one\ntwo\nlast\n" {
		t.Errorf("printed %q", printed.String())
	}
}

func TestBootstrapMustBeAProgram(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := filepath.Join(dir, "bootstrap")
	if err := os.WriteFile(text, []byte("not a program"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "absent"), dir, text} {
		f := function("lambda")
		f.Bootstrap = path
		if p, err := runtimeapi.Start(f); err == nil {
			p.Close()
			t.Errorf("%s was taken for a program", path)
		}
	}
	if err := os.Chmod(text, 0o700); err != nil {
		t.Fatal(err)
	}
	p := pool(t, "lambda", func(f *runtimeapi.Function) { f.Bootstrap = text })
	if _, err := p.Invoke(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "shop-resolve") {
		t.Errorf("a file that does not execute: %v", err)
	}
}
