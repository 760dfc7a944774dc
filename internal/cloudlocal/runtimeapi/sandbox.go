package runtimeapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// state is where a sandbox stands in the life that the Runtime API gives it.
type state int

const (
	starting   state = iota // init: no poll yet
	polling                 // waits for an event in GET next
	invoked                 // has an event, owes its answer
	responding              // its answer is being read
	responded               // has answered, owes the next poll
)

func (s state) String() string {
	return [...]string{"Starting", "Ready", "Running", "Responding", "ResponseSent"}[s]
}

// sandbox is one process of a function and the Runtime API endpoint it was told of.
type sandbox struct {
	function   Function
	cmd        *exec.Cmd
	output     *lines
	server     *http.Server
	retirement *time.Timer // belongs to the Pool, under its lock

	mu      sync.Mutex
	state   state
	current *invocation
	killed  bool

	polled  chan struct{}    // the process asked for its next event
	work    chan *invocation // to the poll that waits
	answers chan Result      // to invoke or start, from the process
	exited  chan struct{}    // closed when the process has ended and exit is set
	exit    error
}

// newSandbox starts the process; it runs when this returns.
func newSandbox(f Function, fork *forker) (*sandbox, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for its Runtime API calls: %w", err)
	}
	s := &sandbox{
		function: f,
		polled:   make(chan struct{}, 1),
		work:     make(chan *invocation, 1),
		answers:  make(chan Result, 1),
		exited:   make(chan struct{}),
	}
	s.server = &http.Server{Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second}
	s.output = &lines{to: f.Output}
	s.cmd = command(f, listener.Addr().String(), s.output)
	if err := fork.start(s.cmd); err != nil {
		listener.Close()
		return nil, err
	}
	go s.server.Serve(listener)
	go s.wait()
	return s, nil
}

// wait reaps the process and takes its endpoint down.
func (s *sandbox) wait() {
	s.exit = s.cmd.Wait()
	s.output.end()
	s.server.Close()
	close(s.exited)
}

// start waits for the first poll. The Result is empty, or says how init failed.
func (s *sandbox) start() Result {
	limit := time.NewTimer(s.function.InitTimeout)
	defer limit.Stop()
	select {
	case <-s.polled:
		return Result{}
	case failed := <-s.answers:
		s.kill()
		return failed
	case <-s.exited:
		return s.reported(failure("Runtime.ExitError", "Error: "+s.exitMessage()))
	case <-limit.C:
		s.kill()
		return failure("Sandbox.Timedout",
			fmt.Sprintf("Error: Init timed out after %.2f seconds", s.function.InitTimeout.Seconds()))
	}
}

// invoke has the process, which waits in its poll, do one piece of work. It returns when the process polled again or is
// no more.
func (s *sandbox) invoke(i *invocation) Result {
	began := time.Now()
	s.mu.Lock()
	s.state, s.current = invoked, i
	s.mu.Unlock()
	s.work <- i
	limit := time.NewTimer(time.Until(i.deadline))
	defer limit.Stop()
	result := s.answer(i, limit.C)
	result.Duration = time.Since(began)
	select {
	case <-s.polled:
	case <-s.exited:
	case <-limit.C: // answered, but it does not come to an end
		s.kill()
	}
	return result
}

func (s *sandbox) answer(i *invocation, limit <-chan time.Time) Result {
	select {
	case result := <-s.answers:
		return result
	case <-s.exited:
		return s.reported(failure("Runtime.ExitError", "RequestId: "+i.id+" Error: "+s.exitMessage()))
	case <-limit:
		s.kill()
		<-s.exited
		return s.reported(failure("Sandbox.Timedout",
			fmt.Sprintf("RequestId: %s Error: Task timed out after %.2f seconds", i.id, s.function.Timeout.Seconds())))
	}
}

// reported returns what a process said before it ended, or else what its end says.
func (s *sandbox) reported(end Result) Result {
	select {
	case said := <-s.answers:
		return said
	default:
		return end
	}
}

// waiting reports whether the process is sound and asks for work.
func (s *sandbox) waiting() bool {
	select {
	case <-s.exited:
		return false
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == polling && !s.killed
}

func (s *sandbox) pid() int { return s.cmd.Process.Pid }

// kill ends the process, frozen or not; it has ended when exited is closed.
func (s *sandbox) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killed = true
	_ = s.cmd.Process.Kill() // fails only when there is nothing left to kill
}

// exitMessage says in Lambda's words how the process ended; call it after exited.
func (s *sandbox) exitMessage() string {
	var failed *exec.ExitError
	switch {
	case s.exit == nil:
		return "Runtime exited without providing a reason"
	case errors.As(s.exit, &failed):
		return "Runtime exited with error: " + failed.Error()
	default:
		return "Runtime exited with error: " + strings.TrimSpace(s.exit.Error())
	}
}

// failure is a Result with Lambda's error document.
func failure(kind, message string) Result {
	document, err := json.Marshal(struct {
		ErrorType    string `json:"errorType"`
		ErrorMessage string `json:"errorMessage"`
	}{kind, message})
	if err != nil {
		panic(err) // two strings always marshal
	}
	return Result{Payload: document, FunctionError: kind}
}
