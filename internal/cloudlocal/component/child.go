package component

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// errPortTaken: another process took the port between its choice and the server's start.
var errPortTaken = errors.New("the port was taken")

// child is one process that this one started.
type child struct {
	cmd    *exec.Cmd
	output *output
	exited chan struct{} // closed when the process is gone
}

// begin starts cmd as a child that does not outlive this process.
func begin(cmd *exec.Cmd, out io.Writer) (*child, error) {
	c := &child{cmd: cmd, output: newOutput(out), exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = c.output, c.output
	cmd.SysProcAttr = bound()
	cmd.WaitDelay = time.Second
	started := make(chan error)
	go func() {
		// The tie between the two processes is, on Linux, one between the child and the thread that started it: this
		// thread therefore does nothing else until the child has ended, and is then thrown away.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait()
		close(c.exited)
	}()
	return c, <-started
}

// ready waits until the server answers and returns its URL.
func (c *child) ready(ctx context.Context, l launch) (string, error) {
	url := l.url
	if url == "" {
		select {
		case port := <-c.output.announced:
			url = "http://127.0.0.1:" + port
		case <-c.exited:
			return "", errors.New("the server ended before it listened")
		case <-ctx.Done():
			return "", fmt.Errorf("wait for the server to listen: %w", ctx.Err())
		}
	}
	poll := time.NewTicker(25 * time.Millisecond)
	defer poll.Stop()
	for {
		err := attempt(ctx, l, url)
		if err == nil {
			return url, nil
		}
		select {
		case <-c.exited:
			return "", fmt.Errorf("%w, or the server ended for another reason", errPortTaken)
		case <-ctx.Done():
			return "", fmt.Errorf("wait for an answer from %s: %w", url, err)
		case <-poll.C:
		}
	}
}

func attempt(ctx context.Context, l launch, url string) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return l.answers(ctx, url)
}

// kill ends the process and waits until it is gone.
func (c *child) kill() error {
	err := c.cmd.Process.Kill()
	<-c.exited
	return unlessGone(err)
}

// stop asks the process to end, and kills it when the patience is over, or at once if there is none.
func (c *child) stop(patience time.Duration) error {
	if patience == 0 {
		return c.kill()
	}
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return c.kill()
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.exited:
		return nil
	case <-timer.C:
		return c.kill()
	}
}

func unlessGone(err error) error {
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// environment is what a server gets to see: enough to run, and nothing that would configure it from outside.
func environment(settings ...string) []string {
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "SystemRoot"} {
		if value, ok := os.LookupEnv(name); ok {
			settings = append(settings, name+"="+value)
		}
	}
	return settings
}
