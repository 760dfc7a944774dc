package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/store"
)

// The paths that edges ask.
const (
	PathSnapshots = "/snapshots/" // then the App's id
	PathRelay     = "/relay"
)

// SnapshotType is the media type of a sealed Snapshot.
const SnapshotType = "application/vnd.palier.snapshot"

const (
	// snapshotTimeout bounds one answer to a poll.
	snapshotTimeout = 8 * time.Second
	// unavailableRetry is after how many seconds a poll that failed may be tried again.
	unavailableRetry = 5
)

// Config is what an Origin stands on. Apps, Tokens, Keys, Devices, Now and Log are required.
type Config struct {
	Apps    store.Apps
	Tokens  store.Tokens
	Keys    store.Keys
	Devices *device.Service
	Now     func() time.Time // the process's one clock
	// Ago returns what that clock showed so much real time ago, for the ages that edges tell; Now less the age if nil.
	Ago  func(time.Duration) time.Time
	Real func() time.Time // the real time, by which edges see a Snapshot expire; time.Now if nil
	Log  *slog.Logger
	// Lifetime is how long a Snapshot is good for after it was issued; DefaultLifetime if zero, and at least 24 seconds.
	Lifetime time.Duration
}

// Origin answers edges.
type Origin struct {
	config  Config
	sealer  *sealer
	door    *door
	counts  counts
	trouble seldom
}

// counts are the numbers that Totals yields.
type counts struct {
	snapshots, unchanged, relays, checks, requests, refused atomic.Int64

	inFlight atomic.Int64 // relays under way
}

// New returns an Origin. It asks nothing of the store yet.
func New(c Config) *Origin {
	if c.Real == nil {
		c.Real = time.Now
	}
	if c.Ago == nil {
		c.Ago = func(age time.Duration) time.Time { return c.Now().Add(-age) }
	}
	return &Origin{
		config: c,
		sealer: newSealer(c.Apps, c.Keys.Ensure, c.Lifetime, c.Real),
		door:   newDoor(c.Tokens, c.Now, c.Real),
	}
}

// Totals yields what a host reports as metrics: totals since the Origin was made, by name.
func (o *Origin) Totals(yield func(name string, total int64) bool) {
	for _, t := range []struct {
		name  string
		total *atomic.Int64
	}{
		{"SnapshotsSent", &o.counts.snapshots}, {"SnapshotsUnchanged", &o.counts.unchanged}, {"Relays", &o.counts.relays},
		{"RelayedChecks", &o.counts.checks}, {"RelayedRequests", &o.counts.requests}, {"RelaysRefused", &o.counts.refused},
	} {
		if !yield(t.name, t.total.Load()) {
			return
		}
	}
}

// Serves reports whether a path is one of those that Handler answers.
func Serves(path string) bool { return path == PathRelay || strings.HasPrefix(path, PathSnapshots) }

// Handler answers GET /snapshots/{app} and POST /relay; everything else is not found.
func (o *Origin) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		var err error
		switch app, snapshot := strings.CutPrefix(r.URL.Path, PathSnapshots); {
		case snapshot && r.Method != http.MethodGet:
			err = wrongMethod(http.MethodGet)
		case snapshot:
			err = o.snapshot(w, r, app)
		case r.URL.Path == PathRelay && r.Method != http.MethodPost:
			err = wrongMethod(http.MethodPost)
		case r.URL.Path == PathRelay:
			err = o.relay(w, r)
		default:
			err = refuse(http.StatusNotFound, CodeNotFound, "there is no such address")
		}
		if err != nil {
			o.counts.refused.Add(1)
			o.answer(r.Context(), err).write(w)
		}
	})
}

func wrongMethod(want string) *refusal {
	r := refuse(http.StatusMethodNotAllowed, CodeMethodNotAllowed, "this path wants %s", want)
	r.allow = want
	return r
}

// snapshot answers GET /snapshots/{app}. Whether anything changed costs one small read.
func (o *Origin) snapshot(w http.ResponseWriter, r *http.Request, app string) error {
	ctx, cancel := context.WithTimeout(r.Context(), snapshotTimeout)
	defer cancel()
	token, err := o.door.admit(ctx, r.Header.Get("Authorization"), store.RoleEdge, store.RoleAdmin)
	if err != nil {
		return err
	}
	if !sees(token, app) {
		return refuse(http.StatusForbidden, CodeForbidden, "the token %q is limited to other apps", token.Name)
	}
	if !identifier(app, maxApp) {
		return unknownApp()
	}
	revision, err := o.config.Apps.Revision(ctx, app)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "private, no-cache")
	if tag := etag(revision, o.sealer.issued()); matches(r.Header.Values("If-None-Match"), tag) {
		o.counts.unchanged.Add(1)
		w.Header().Set("ETag", tag)
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	s, err := o.sealer.sealed(ctx, app, revision)
	if err != nil {
		return err
	}
	o.counts.snapshots.Add(1)
	w.Header().Set("ETag", etag(s.revision, s.issued))
	w.Header().Set("Content-Type", SnapshotType)
	w.Header().Set("Content-Length", strconv.Itoa(len(s.bytes)))
	_, _ = w.Write(s.bytes) // the edge is gone; it comes again
	return nil
}

// etag names a sealed Snapshot: every process of this Palier gives the same bytes the same name.
func etag(revision, issued int64) string { return fmt.Sprintf(`"%d-%d"`, revision, issued) }

// matches reports whether an If-None-Match names the tag. What is between the edge and us may have made it a weak one.
func matches(headers []string, tag string) bool {
	for _, header := range headers {
		for one := range strings.SplitSeq(header, ",") {
			if strings.TrimPrefix(strings.TrimSpace(one), "W/") == tag {
				return true
			}
		}
	}
	return false
}

func unknownApp() *refusal {
	return refuse(http.StatusNotFound, CodeUnknownApp, "this server has no such app: check the edge's list of apps")
}

// answer turns what went wrong into what the edge is told, and logs what is nobody's fault but ours.
func (o *Origin) answer(ctx context.Context, err error) *refusal {
	var known *refusal
	var large tooLargeError
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, store.ErrNotFound):
		return unknownApp()
	case errors.As(err, &large):
		return refuse(http.StatusUnprocessableEntity, CodeSnapshotTooLarge, "this snapshot cannot be sent to edges: %s", large)
	}
	if ctx.Err() == nil && o.trouble.now(o.config.Real()) {
		o.config.Log.Error("edge not answered", "error", err)
	}
	return retryLater(http.StatusServiceUnavailable, CodeStoreUnavailable,
		"the snapshot cannot be read now: go on with the one you have", unavailableRetry)
}

// seldom lets one through per minute: what goes wrong for one edge goes wrong for all of them, every few seconds.
type seldom struct{ last atomic.Int64 }

func (s *seldom) now(t time.Time) bool {
	minute := t.Unix() / 60
	return s.last.Swap(minute) != minute
}
