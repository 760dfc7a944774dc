package device_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/device"
)

// working returns the stacks of goroutines that a Service started.
func working() string {
	buf := make([]byte, 1<<20)
	var mine []string
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if _, by, _ := strings.Cut(stack, "\ncreated by "); strings.Contains(by, "/internal/device.") || strings.Contains(by, "sync.(*WaitGroup).Go") {
			mine = append(mine, stack)
		}
	}
	return strings.Join(mine, "\n\n")
}

func TestCloseEndsAllBackgroundWork(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.check(uuid(1), nil)
	w.clock.pass(device.DefaultSnapshotTTL + time.Second)
	gate := w.hold("APP#" + app)
	w.check(uuid(2), nil)
	w.until("a refresh", func() bool { return w.store.snapshots.Load() == 2 })
	if working() == "" {
		t.Fatal("the check sees no goroutine of a Service at work")
	}
	closed := make(chan struct{})
	go func() { defer close(closed); w.service.Close() }()
	select {
	case <-closed:
		t.Error("Close did not wait for the refresh, which may use the store after it is closed")
	case <-time.After(20 * time.Millisecond):
	}
	close(gate)
	<-closed
	if left := working(); left != "" {
		t.Errorf("still at work:\n%s", left)
	}
	w.service.Close() // again is fine
	if n := len(w.events()); n != 2 {
		t.Errorf("%d of the checks noted are on the stream, want 2", n)
	}
}

func TestCloseDoesNotWaitForAStreamForEver(t *testing.T) {
	w := newWorld(t)
	w.start()
	for i := range 2000 {
		w.offersNothing("disable_auto_update_under_native", uuid(i), fields{"version_build": "1.9.0"})
	}
	w.stream.hang.Store(true)
	defer w.stream.hang.Store(false)
	for i := range 2000 {
		w.offersNothing("disable_auto_update_under_native", uuid(3000+i), fields{"version_build": "1.9.0"})
	}
	began := time.Now()
	w.service.Close()
	if took := time.Since(began); took > 12*time.Second { // one flush under way, and the last
		t.Errorf("Close took %v", took)
	}
	if s := w.service.Stats(); s.ChecksDropped == 0 {
		t.Errorf("%+v", s)
	}
}
