package edgehost

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// snapshots keeps the module supplied. Each App's sealed Snapshot is fetched again and again, with a conditional request that costs
// next to nothing while there is no news, and may be pushed by the origin besides. The module judges whatever comes.
//
// With a directory, the last one of each App is kept there too: an edge that starts while the origin is down answers from it,
// and one that starts again still knows the revision below which it takes none. The files need no trust: what is in them is
// judged like all that comes.
type snapshots struct {
	module *Module
	origin *origin
	poll   time.Duration
	grace  time.Duration
	dir    string // none: empty
	now    func() time.Time
	random func() float64
	log    *slog.Logger

	mu   sync.Mutex
	apps map[string]*followed
}

// followed is what is known of an App that this edge answers for.
type followed struct {
	held    bool // the module has a Snapshot
	header  header
	etag    string // to ask with; empty asks for the whole
	trouble string // why there is no news, as it was logged; empty is none
}

// newSnapshots lets s, which has all else, follow Apps.
func newSnapshots(s *snapshots, apps []string) *snapshots {
	s.apps = make(map[string]*followed, len(apps))
	for _, app := range apps {
		s.apps[app] = &followed{}
	}
	return s
}

// restore offers the module what an earlier process kept.
func (s *snapshots) restore(ctx context.Context) {
	if s.dir == "" {
		return
	}
	for app := range s.apps {
		sealed, err := os.ReadFile(s.file(app))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			s.log.Warn("a snapshot that was kept cannot be read", "app", app, "error", err)
			continue
		}
		if outcome, err := s.offer(ctx, app, sealed); err != nil || !outcome.taken() {
			s.log.Warn("a snapshot that was kept is of no use", "app", app, "outcome", outcome, "error", err)
		}
	}
}

// follow fetches an App's Snapshot until ctx ends. It calls asked when it has done so for the first time.
func (s *snapshots) follow(ctx context.Context, app string, asked func()) {
	asked = sync.OnceFunc(asked)
	defer asked()
	failures := 0
	for ctx.Err() == nil {
		if s.fetch(ctx, app) {
			failures = 0
		} else {
			failures++
		}
		asked()
		timer := time.NewTimer(s.pause(failures))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// pause returns how long to wait for the next fetch: the poll interval, doubled for every failure in a row but the first, ±10 %.
func (s *snapshots) pause(failures int) time.Duration {
	d := s.poll
	for range min(failures-1, 16) {
		d = min(2*d, max(lastPause, s.poll))
	}
	return time.Duration(float64(d) * (0.9 + 0.2*s.random()))
}

// fetch asks the origin once, and reports whether that worked: that there was an answer, and nothing wrong with it.
func (s *snapshots) fetch(ctx context.Context, app string) bool {
	sealed, err := s.origin.snapshot(ctx, app, s.etag(app))
	var refused *errRefused
	switch {
	case ctx.Err() != nil:
		return true
	case errors.As(err, &refused) && refused.status == http.StatusNotFound && refused.code == "unknown_app":
		s.trouble(app, "unknown_app", "the origin does not have this app; its devices' checks are forwarded")
		s.forget(ctx, app)
		return true
	case err != nil:
		s.trouble(app, err.Error(), "no snapshot fetched; the last one goes on answering")
		return false
	case sealed == nil:
		s.trouble(app, "", "")
		return true
	}
	outcome, err := s.offer(ctx, app, sealed)
	if err != nil {
		s.trouble(app, err.Error(), "a snapshot could not be loaded; the last one goes on answering")
		return false
	}
	if !outcome.taken() {
		s.trouble(app, outcome.String(), "a snapshot was refused; the last one goes on answering")
		return outcome == Older // a replica that is behind is nothing to be patient with
	}
	s.trouble(app, "", "")
	return true
}

// offer shows a sealed Snapshot to the module, and notes what became of it. It keeps the bytes.
func (s *snapshots) offer(ctx context.Context, app string, sealed []byte) (Outcome, error) {
	now := s.now()
	outcome, err := s.module.Load(ctx, app, sealed, seconds(now), uint32(s.grace/time.Second))
	if err != nil || !outcome.taken() {
		return outcome, err
	}
	h := headerOf(sealed)
	if s.advance(app, h) {
		s.log.Info("snapshot "+outcome.String(), "app", app, "revision", h.revision)
		s.keep(app, sealed)
	}
	return outcome, nil
}

// advance notes the Snapshot that the module has, and reports whether it is another one than before.
func (s *snapshots) advance(app string, h header) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.apps[app]
	if f.held && (h.revision < f.header.revision || h.revision == f.header.revision && h.issued <= f.header.issued) {
		return false
	}
	f.held, f.header, f.etag = true, h, h.etag()
	return true
}

// forget stops answering for an App that the origin does not have.
func (s *snapshots) forget(ctx context.Context, app string) {
	s.mu.Lock()
	f := s.apps[app]
	held := f.held
	f.held, f.etag = false, ""
	s.mu.Unlock()
	if !held {
		return
	}
	if err := s.module.Forget(ctx, app); err != nil {
		s.log.Error("an app could not be forgotten", "app", app, "error", err)
	}
	if s.dir != "" {
		_ = os.Remove(s.file(app)) // if it stays, the next start forgets it again
	}
}

// keep writes a sealed Snapshot to the directory.
func (s *snapshots) keep(app string, sealed []byte) {
	if s.dir == "" {
		return
	}
	if err := replaceFile(s.file(app), sealed); err != nil {
		s.log.Warn("a snapshot could not be kept; an edge that starts while the origin is down will miss it", "app", app, "error", err)
	}
}

func (s *snapshots) file(app string) string { return filepath.Join(s.dir, app+".snapshot") }

// replaceFile puts a file in the place of another, whole or not at all.
func replaceFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}

// trouble notes why there is no news of an App, and logs it when it is not what it was the last time.
func (s *snapshots) trouble(app, what, words string) {
	s.mu.Lock()
	f := s.apps[app]
	before := f.trouble
	f.trouble = what
	s.mu.Unlock()
	switch {
	case what == before:
	case what == "":
		s.log.Info("snapshots arrive again", "app", app)
	default:
		s.log.Warn(words, "app", app, "why", what)
	}
}

func (s *snapshots) etag(app string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.apps[app].etag
}

// serves reports whether this edge answers for an App.
func (s *snapshots) serves(app string) bool { return s.apps[app] != nil }

// seconds returns a time as the module counts it: Unix seconds.
func seconds(t time.Time) uint32 { return uint32(max(0, t.Unix())) }
