package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
)

// Config is what a Service stands on. Store is required.
type Config struct {
	Store store.Store
	Large store.Blobs      // see store.Apps; nil refuses large Snapshots
	Now   func() time.Time // the process's one clock; time.Now if nil
	Rand  io.Reader        // of tokens, salts and ids; crypto/rand if nil
	Log   *slog.Logger     // silent if nil
	// Deadline bounds the work of one call; 20 seconds if zero.
	Deadline time.Duration
	// Version is what the API description calls itself; "dev" if empty.
	Version string
}

// Service answers operators.
type Service struct {
	apps     store.Apps
	devices  store.Devices
	tallies  store.Tallies
	verdicts store.Verdicts
	tokens   store.Tokens
	keys     store.Keys
	now      func() time.Time
	random   io.Reader
	newID    func(time.Time) string
	log      *slog.Logger
	deadline time.Duration
	door     doorkeeper
	handler  http.Handler
	spec     []byte        // the OpenAPI description
	playing  chan struct{} // holds one forecast
}

// New returns a Service that is ready to serve. It fails when the configuration is incomplete.
func New(cfg Config) (*Service, error) {
	if cfg.Store == nil {
		return nil, errors.New("admin: Config.Store is missing")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Deadline == 0 {
		cfg.Deadline = 20 * time.Second
	}
	if cfg.Version == "" {
		cfg.Version = "dev"
	}
	newID := store.NewULID(cfg.Rand)
	s := &Service{
		apps:     store.Apps{Store: cfg.Store, Large: cfg.Large, NewID: newID},
		devices:  store.Devices{Store: cfg.Store},
		tallies:  store.Tallies{Store: cfg.Store},
		verdicts: store.Verdicts{Store: cfg.Store},
		tokens:   store.Tokens{Store: cfg.Store},
		keys:     store.Keys{Store: cfg.Store, Rand: cfg.Rand, Now: cfg.Now},
		now:      cfg.Now,
		random:   cfg.Rand,
		newID:    newID,
		log:      cfg.Log,
		deadline: cfg.Deadline,
		door:     doorkeeper{addresses: map[string]*rate.Limiter{}},
		playing:  make(chan struct{}, 1),
	}
	if err := s.route(cfg.Version); err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	return s, nil
}

// Handler serves everything under /api/v1/. It answers other addresses with 404, so it may be mounted at the root.
func (s *Service) Handler() http.Handler { return s.handler }

// load returns the app's state, or an *Error with 404.
func (s *Service) load(ctx context.Context, app string) (rollout.State, error) {
	state, err := s.apps.Load(ctx, app)
	if errors.Is(err, store.ErrNotFound) {
		return rollout.State{}, notFound("app", app)
	}
	return state, err
}

// A loader reads the state that a change starts from.
type loader func(context.Context) (rollout.State, error)

// A stepper computes the state after a change, and the audit events that go with it. It may be called several times.
type stepper func(rollout.State) (rollout.State, []rollout.Event, error)

// commitAttempts bounds how often a change starts over because someone else was first.
const commitAttempts = 4

// change loads the app, computes the new state with its events, and commits it; again from the start, with fresh eyes,
// when someone else committed in between. It returns the committed state, or the state as it was when step returns no
// events: then there is nothing to write.
func (s *Service) change(ctx context.Context, load loader, step stepper) (rollout.State, error) {
	var lost error
	for range commitAttempts {
		before, err := load(ctx)
		if err != nil {
			return rollout.State{}, err
		}
		after, events, err := step(before)
		if err != nil {
			return rollout.State{}, err
		}
		if len(events) == 0 {
			return before, nil
		}
		committed, err := s.commit(ctx, before, after, events)
		if err == nil {
			s.log.InfoContext(ctx, "app changed", "app", after.App.ID, "revision", committed.Revision, "verb", events[0].Verb, "actor", events[0].Actor)
			return committed, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return rollout.State{}, err
		}
		lost = err
	}
	return rollout.State{}, lost
}
