package runtimeapi

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"
)

// account is the account of AWS's own examples.
const account = "123456789012"

// invocation is one event on its way through a sandbox.
type invocation struct {
	id, arn, trace string
	deadline       time.Time
	payload        []byte
}

func newInvocation(f Function, payload []byte) *invocation {
	now := time.Now()
	return &invocation{
		id:       NewID(),
		arn:      "arn:aws:lambda:" + cmp.Or(f.Env["AWS_REGION"], "us-east-1") + ":" + account + ":function:" + f.Name,
		trace:    fmt.Sprintf("Root=1-%08x-%x;Parent=%x;Sampled=0", now.Unix(), random(12), random(8)),
		deadline: now.Add(f.Timeout),
		payload:  payload,
	}
}

// NewID returns a version 4 UUID, which is what AWS's ids of requests and mappings are.
func NewID() string {
	b := random(16)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}

// command is the process of a new sandbox, not started yet.
func command(f Function, api string, output io.Writer) *exec.Cmd {
	return &exec.Cmd{
		Path:        f.Bootstrap,
		Args:        []string{f.Bootstrap},
		Dir:         filepath.Dir(f.Bootstrap),
		Env:         environment(f, api),
		Stdout:      output,
		Stderr:      output,
		SysProcAttr: processAttributes(),
		WaitDelay:   time.Second, // for output of a child that outlives it
	}
}

// environment is the function's own variables, then those that Lambda defines and a function cannot set: see "Defined
// runtime environment variables" in the developer guide. Nothing comes from the environment of this process.
func environment(f Function, api string) []string {
	env := map[string]string{"LANG": "en_US.UTF-8", "TZ": ":UTC", "PATH": "/usr/local/bin:/usr/bin/:/bin:/opt/bin"}
	maps.Copy(env, f.Env)
	maps.Copy(env, map[string]string{
		"_HANDLER":                        filepath.Base(f.Bootstrap),
		"LAMBDA_TASK_ROOT":                filepath.Dir(f.Bootstrap),
		"LAMBDA_RUNTIME_DIR":              "/var/runtime",
		"AWS_LAMBDA_RUNTIME_API":          api,
		"AWS_LAMBDA_FUNCTION_NAME":        f.Name,
		"AWS_LAMBDA_FUNCTION_VERSION":     "$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": strconv.Itoa(f.MemoryMB),
		"AWS_LAMBDA_INITIALIZATION_TYPE":  "on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME":       "/aws/lambda/" + f.Name,
		"AWS_LAMBDA_LOG_STREAM_NAME":      logStream(time.Now()),
	})
	list := make([]string, 0, len(env))
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	return list
}

// logStream is the name of a sandbox's log in CloudWatch.
func logStream(now time.Time) string {
	return fmt.Sprintf("%s/[$LATEST]%x", now.UTC().Format("2006/01/02"), random(16))
}

// forker starts processes from one OS thread that stays, because on Linux a child is told to die with the thread that
// started it, not with the process.
type forker struct {
	jobs chan func()
}

func newForker() *forker {
	f := &forker{jobs: make(chan func())}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for job := range f.jobs {
			job()
		}
	}()
	return f
}

func (f *forker) start(cmd *exec.Cmd) error {
	failed := make(chan error)
	f.jobs <- func() { failed <- cmd.Start() }
	return <-failed
}

// close lets the thread go; all children must have ended.
func (f *forker) close() { close(f.jobs) }

// maxLine is the size of CloudWatch's log events, in bytes: longer lines are cut into several.
const maxLine = 256 << 10

// lines passes on what one process prints by whole lines. What cannot be passed on is dropped: a log must not stop the
// function.
type lines struct {
	to   io.Writer
	rest bytes.Buffer
}

// Write implements io.Writer; os/exec calls it from one goroutine.
func (l *lines) Write(p []byte) (int, error) {
	l.rest.Write(p)
	whole := bytes.LastIndexByte(l.rest.Bytes(), '\n') + 1
	if whole > 0 {
		_, _ = l.to.Write(l.rest.Next(whole))
	}
	if l.rest.Len() > maxLine {
		l.end()
	}
	return len(p), nil
}

// end passes on the last line, which no newline ended.
func (l *lines) end() {
	if l.rest.Len() == 0 {
		return
	}
	l.rest.WriteByte('\n')
	_, _ = l.to.Write(l.rest.Next(l.rest.Len()))
}

// wholeWrites lets several processes share a writer.
type wholeWrites struct {
	mu sync.Mutex
	to io.Writer
}

// Write implements io.Writer.
func (w *wholeWrites) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(p)
}
