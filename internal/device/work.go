package device

import (
	"context"
	"sync"
)

// work counts what is under way in the background. Unlike a sync.WaitGroup it can be waited for with a bound, and more
// may begin meanwhile.
type work struct {
	mu    sync.Mutex
	n     int
	ended chan struct{} // closed when nothing is under way any more; nil while nobody waits for that
}

// Go runs f in the background.
func (w *work) Go(f func()) {
	w.begin()
	go func() {
		defer w.end()
		f()
	}()
}

func (w *work) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n++
}

func (w *work) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n--; w.n == 0 && w.ended != nil {
		close(w.ended)
		w.ended = nil
	}
}

// idle reports whether nothing is under way.
func (w *work) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n == 0
}

// wait returns when nothing is under way, or the context ends.
func (w *work) wait(ctx context.Context) {
	w.mu.Lock()
	if w.n > 0 && w.ended == nil {
		w.ended = make(chan struct{})
	}
	ended := w.ended
	w.mu.Unlock()
	if ended != nil {
		await(ctx, ended)
	}
}

// await returns when the channel is closed or the context ends.
func await(ctx context.Context, closed <-chan struct{}) {
	select {
	case <-closed:
	case <-ctx.Done():
	}
}
