package runtimeapi_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/cloudlocal/runtimeapi"
)

// processState is the letter that /proc tells: R running, S sleeping, T stopped, Z ended; empty when it is gone.
func processState(pid int) string {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	state, _, _ := strings.Cut(after, " ")
	return state
}

// Between invocations a function's own goroutines stand still: it counts milliseconds into a file, and while it is
// frozen the file does not grow.
func TestFrozenBetweenInvocations(t *testing.T) {
	t.Parallel()
	ticks := filepath.Join(t.TempDir(), "ticks")
	if err := os.WriteFile(ticks, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := pool(t, "clock", func(f *runtimeapi.Function) { f.Env["TEST_TICKS"] = ticks })
	size := func() int64 {
		info, err := os.Stat(ticks)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	for range 5 {
		before := size()
		eventually(t, "it counts while it is invoked", func() bool {
			invoke(t, p, request{})
			return size() > before
		})
		pid := p.Processes()[0]
		eventually(t, "it is stopped", func() bool { return processState(pid) == "T" })
		frozen := size()
		time.Sleep(50 * time.Millisecond) // fifty ticks, if it could
		if after := size(); after != frozen {
			t.Errorf("it counted %d milliseconds while frozen", after-frozen)
		}
	}
	if s := p.Stats(); s.Cold != 1 {
		t.Errorf("%+v", s)
	}
}

func TestSandboxesDieWithTheirHost(t *testing.T) {
	t.Parallel()
	host := exec.Command(os.Args[0])
	host.Env = []string{behaviour + "=host"}
	stdout, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the sandbox is frozen", func() bool { return processState(pid) == "T" })
	if err := host.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = host.Wait()
	eventually(t, "the sandbox is gone", func() bool { return strings.Contains("Z", processState(pid)) })
}

func TestAwakeSandboxesAreNotFrozen(t *testing.T) {
	t.Parallel()
	ticks := filepath.Join(t.TempDir(), "ticks")
	if err := os.WriteFile(ticks, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := pool(t, "clock", func(f *runtimeapi.Function) { f.Env["TEST_TICKS"], f.Awake = ticks, true })
	invoke(t, p, request{})
	before, err := os.ReadFile(ticks)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it counts without being invoked", func() bool {
		after, err := os.ReadFile(ticks)
		return err == nil && len(after) > len(before)
	})
}
