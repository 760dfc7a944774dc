package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/palier-ota/palier/internal/store"
)

const (
	// pushTimeout bounds what one push waits for one edge.
	pushTimeout = 2 * time.Second
	// settleTimeout bounds how long a request that changed something waits for the edges to be told.
	settleTimeout = pushTimeout + time.Second
	// maxAnswer is how much of an edge's answer is read, so that its connection can be used again.
	maxAnswer = 4 << 10
)

// PusherConfig is what a Pusher stands on. Apps, Keys, Edges and Log are required.
type PusherConfig struct {
	Apps     store.Apps
	Keys     store.Keys
	Edges    []*url.URL       // see ParseEdge
	Real     func() time.Time // as Config's
	Lifetime time.Duration    // as Config's
	Log      *slog.Logger
}

// Pusher sends edges the sealed Snapshot of an App whenever it changes. To one edge one App's Snapshot is on its way at most
// once; what changes meanwhile is sent after it, the newest only. So an edge that is slow or gone holds up no other, and one
// that cannot be reached learns of the change at its next poll.
type Pusher struct {
	config  PusherConfig
	sealer  *sealer
	client  *http.Client
	trouble seldom

	pushed, failed atomic.Int64

	mu    sync.Mutex
	lanes map[lane]*push
	ended chan struct{} // closed when nothing is on its way any more; nil while nobody waits for that
}

// lane is where pushes follow each other.
type lane struct {
	edge *url.URL // one of the configuration's
	app  string
}

// push is what is on its way in a lane.
type push struct{ again bool } // the App changed since

// errNoEdge does not repeat what there is: it may hold a secret.
var errNoEdge = errors.New("want the address of an edge, such as https://edge.example.com")

// ParseEdge reads the address of an edge, such as https://edge.example.com, below which are its paths.
func ParseEdge(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errNoEdge
	}
	return u, nil
}

// NewPusher returns a Pusher.
func NewPusher(c PusherConfig) *Pusher {
	if c.Real == nil {
		c.Real = time.Now
	}
	c.Apps.Store = strong{c.Apps.Store}
	return &Pusher{
		config: c, lanes: map[lane]*push{},
		// Without a key there is no edge that could believe it, so none is drawn.
		sealer: newSealer(c.Apps, c.Keys.Load, c.Lifetime, c.Real),
		client: &http.Client{
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 2, IdleConnTimeout: 40 * time.Second,
				TLSHandshakeTimeout: pushTimeout, ForceAttemptHTTP2: true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// strong is a Store whose reads see what was just written.
type strong struct{ store.Store }

// Get is store.Store's, strongly consistent.
func (s strong) Get(ctx context.Context, k store.Key, _ store.Consistency) (store.Item, error) {
	return s.Store.Get(ctx, k, store.Strong)
}

// Changed has the App's Snapshot sent to the edges. It does not wait for that.
func (p *Pusher) Changed(app string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, edge := range p.config.Edges {
		l := lane{edge, app}
		if under := p.lanes[l]; under != nil {
			under.again = true
			continue
		}
		p.lanes[l] = &push{}
		go p.run(l)
	}
}

// run pushes until nothing has changed since.
func (p *Pusher) run(l lane) {
	for {
		p.push(l)
		if p.done(l) {
			return
		}
	}
}

// done reports whether the App did not change since the last push, and clears the lane then.
func (p *Pusher) done(l lane) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lanes[l].again {
		p.lanes[l].again = false
		return false
	}
	delete(p.lanes, l)
	if len(p.lanes) == 0 && p.ended != nil {
		close(p.ended)
		p.ended = nil
	}
	return true
}

// Settle returns when nothing is on its way any more, after a few seconds at most. A host that freezes the process between
// requests calls it at the end of each. What it leaves under way fails, and is left to polling.
func (p *Pusher) Settle(ctx context.Context) { p.wait(ctx, settleTimeout) }

func (p *Pusher) wait(ctx context.Context, most time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	p.mu.Lock()
	if len(p.lanes) > 0 && p.ended == nil {
		p.ended = make(chan struct{})
	}
	ended := p.ended
	p.mu.Unlock()
	if ended == nil {
		return
	}
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// Close waits for what is on its way, a few seconds at most, and ends the connections.
func (p *Pusher) Close() {
	p.wait(context.Background(), sealTimeout+pushTimeout)
	p.client.CloseIdleConnections()
}

// Totals yields what a host reports as metrics: totals since the Pusher was made, by name.
func (p *Pusher) Totals(yield func(name string, total int64) bool) {
	_ = yield("SnapshotsPushed", p.pushed.Load()) && yield("PushFailures", p.failed.Load())
}

// push sends an edge the newest Snapshot of the App.
func (p *Pusher) push(l lane) {
	s, err := p.newest(l.app)
	if errors.Is(err, store.ErrNotFound) {
		return // the app was deleted, which edges hear when they ask; or there is no key, and so no edge
	}
	if err == nil {
		err = p.send(l.edge, s)
	}
	if err == nil {
		p.pushed.Add(1)
		return
	}
	p.failed.Add(1)
	if p.trouble.now(p.config.Real()) {
		p.config.Log.Warn("an edge was not told of a change; it learns of it at its next poll",
			"edge", l.edge.Host, "app", l.app, "error", err)
	}
}

// newest returns the App's Snapshot as it is at this moment. Lanes that ask for the same one share it.
func (p *Pusher) newest(app string) (sealed, error) {
	ctx, cancel := context.WithTimeout(context.Background(), sealTimeout)
	defer cancel()
	revision, err := p.config.Apps.Revision(ctx, app)
	if err != nil {
		return sealed{}, err
	}
	return p.sealer.sealed(ctx, app, revision)
}

// send puts one Snapshot to one edge.
func (p *Pusher) send(edge *url.URL, s sealed) error {
	ctx, cancel := context.WithTimeout(context.Background(), pushTimeout)
	defer cancel()
	address := edge.JoinPath(strings.TrimPrefix(PathSnapshots, "/"), s.app).String()
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, address, bytes.NewReader(s.bytes))
	if err != nil {
		return fmt.Errorf("sending the snapshot: %w", err)
	}
	r.Header.Set("Content-Type", SnapshotType)
	answer, err := p.client.Do(r)
	if err != nil {
		return fmt.Errorf("sending the snapshot: %w", err)
	}
	defer answer.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	switch answer.StatusCode {
	case http.StatusNoContent, http.StatusOK, // it has it
		http.StatusConflict, // it has a newer one
		http.StatusNotFound: // it does not serve this app
		return nil
	}
	return fmt.Errorf("the edge answers %s: %.200q", answer.Status, said)
}
