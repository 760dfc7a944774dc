package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/spf13/cobra"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/aggregate"
	"github.com/palier-ota/palier/internal/blob/dir"
	"github.com/palier-ota/palier/internal/clock"
	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/promote"
	"github.com/palier-ota/palier/internal/relay"
	"github.com/palier-ota/palier/internal/source"
	"github.com/palier-ota/palier/internal/store"
	storesqlite "github.com/palier-ota/palier/internal/store/sqlite"
	streamsqlite "github.com/palier-ota/palier/internal/stream/sqlite"
)

const (
	tickEvery     = time.Minute            // of the clock
	tickFloor     = 250 * time.Millisecond // of real time, however fast the clock runs
	streamName    = "telemetry"
	streamKeep    = 7 * 24 * time.Hour
	shutdownGrace = 10 * time.Second
	guessable     = 20 // characters: a first token below this is warned of
)

// serveOptions are what `palier serve` was asked for.
type serveOptions struct {
	data   string
	listen string
	scale  float64
	token  string         // first admin token; empty: made and stored
	edges  []*url.URL     // to tell of changes
	trust  []netip.Prefix // proxies and edges to believe on where devices ask from
	fresh  bool           // clear the data directory first
	log    *slog.Logger
	notify func(promote.Outcome)
}

func newServe() *cobra.Command {
	var o serveOptions
	var edges []string
	var trust string
	var demo, verbose bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run Palier in one process: devices, operators, judge and store",
		Long: `Serve answers devices and operators on one address, keeps everything in SQLite files under --data, and moves rollouts
by itself. It prints one line when it is ready. The first admin token is $PALIER_TOKEN, or is made and stored in the
data directory, readable by you only; commands on the same machine find it there.

--time-scale runs the clock faster: at 3600 an hour passes every second, so that a plan of a week can be watched. The
clock of a data directory never runs back, so give such a try a directory of its own. --demo adds an app, a fleet of
simulated devices, a healthy rollout and a crashing one, all in a folder "demo" below --data, which it clears first.

Edges fetch signed snapshots from here and hand over what devices report; "palier token create NAME --role edge" lets one
in, and "palier keys" shows the key that it is to trust. Each --edge is told of changes at once, instead of at its next
poll.

What one network reports counts within bounds, so that nobody can take a bundle back with a script. A network is a /24 of
IPv4 or a /48 of IPv6. Behind a proxy on another machine, or with edges, name those with --trust-proxy: what they write
into X-Forwarded-For is believed then. One on this machine always is.`,
		Example: `  palier serve
  palier serve --data /var/lib/palier --listen 127.0.0.1:8787
  palier serve --edge https://edge.example.com
  palier serve --listen 0.0.0.0:8787 --trust-proxy 10.0.0.0/8
  palier serve --demo`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.data, _ = cmd.Flags().GetString("data")
			o.token = os.Getenv("PALIER_TOKEN")
			for _, text := range edges {
				edge, err := relay.ParseEdge(text)
				if err != nil {
					return usageError{fmt.Errorf("--edge: %w", err)}
				}
				o.edges = append(o.edges, edge)
			}
			var err error
			if o.trust, err = source.ParseTrusted(trust); err != nil {
				return usageError{fmt.Errorf("--trust-proxy: %w", err)}
			}
			level := slog.LevelInfo
			if demo {
				level = slog.LevelError // the demo tells its own story
			}
			if verbose {
				level = slog.LevelDebug
			}
			o.log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
			if demo {
				return runDemo(cmd.Context(), o, cmd.OutOrStdout())
			}
			s, err := openServer(cmd.Context(), o)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), s.ready())
			for _, note := range clockNotes(s.clock) {
				fmt.Fprintln(cmd.OutOrStdout(), note)
			}
			return s.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", defaultListen, "address to listen on; port 0 picks a free one")
	f.Float64Var(&o.scale, "time-scale", 1, "run the clock this many times faster, 1 to 1000000")
	f.StringArrayVar(&edges, "edge", nil, "address of an edge to tell of changes at once; repeat it for more")
	f.StringVar(&trust, "trust-proxy", "", "networks of proxies and edges to believe on where devices ask from, such as 10.0.0.0/8,192.0.2.7")
	f.BoolVar(&demo, "demo", false, "seed an app and run a fleet, a healthy rollout and a crashing one")
	f.BoolVar(&verbose, "verbose", false, "log every decision")
	return cmd
}

// server is everything of Palier in one process.
type server struct {
	options    serveOptions
	clock      *clock.Clock
	store      *storesqlite.Store
	stream     *streamsqlite.Stream
	objects    *dir.Store
	devices    *device.Service
	operators  *admin.Service
	origin     *relay.Origin
	pusher     *relay.Pusher
	aggregator *aggregate.Aggregator
	ticker     *promote.Ticker
	lock       *flock.Flock
	listener   net.Listener
	http       *http.Server
}

// openServer opens the data directory and the listener and wires every part. Nothing runs yet, but the address accepts
// connections.
func openServer(ctx context.Context, o serveOptions) (*server, error) {
	o.data = filepath.Clean(o.data)
	s := &server{options: o}
	if err := s.open(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *server) open(ctx context.Context) (err error) {
	o := s.options
	if s.listener, err = net.Listen("tcp", o.listen); err != nil {
		return listenError(o.listen, err)
	}
	if s.lock, err = lockData(o.data); err != nil {
		return err
	}
	if o.fresh {
		if err := clearData(o.data); err != nil {
			return err
		}
	}
	if s.clock, err = newClock(o.data, o.scale); err != nil {
		return err
	}
	if s.store, err = storesqlite.Open(filepath.Join(o.data, storeFile), storesqlite.Options{Now: s.clock.Now}); err != nil {
		return err
	}
	if s.stream, err = streamsqlite.Open(filepath.Join(o.data, streamFile), streamsqlite.Options{Now: s.clock.Now, Retention: streamKeep}); err != nil {
		return err
	}
	if s.objects, err = s.openObjects(); err != nil {
		return err
	}
	return s.wire(ctx)
}

// openObjects opens the folder of what is too large for the store. Nobody is handed signed requests, so the secret for
// them need not outlive the process.
func (s *server) openObjects() (*dir.Store, error) {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	return dir.New(filepath.Join(s.options.data, objectsDir), dir.Options{
		BaseURL: s.url() + "/objects", Secret: secret, Now: s.clock.Now, Log: s.options.log,
	})
}

// listenError says what to do when the address cannot be had.
func listenError(address string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is in use, perhaps by another palier; choose another address with --listen", address)
	}
	return usageError{fmt.Errorf("--listen %q: %w; want something like %s", address, err, defaultListen)}
}

// wire connects the parts.
func (s *server) wire(ctx context.Context) error {
	// What this process changes, its devices see at once.
	observed := store.Observe(s.store, s.changed)
	apps := store.Apps{Store: observed, Large: s.objects, NewID: store.NewULID(rand.Reader)}
	keys := store.Keys{Store: s.store, Now: s.clock.Now}
	s.devices = device.New(device.Config{
		Apps: apps, Devices: store.Devices{Store: s.store}, Stream: s.stream, Now: s.clock.Now, Log: s.options.log,
		TrustProxies: s.options.trust,
	})
	s.origin = relay.New(relay.Config{
		Apps: apps, Tokens: store.Tokens{Store: s.store}, Keys: keys, Devices: s.devices,
		Now: s.clock.Now, Ago: s.clock.Ago, Log: s.options.log,
	})
	s.pusher = relay.NewPusher(relay.PusherConfig{Apps: apps, Keys: keys, Edges: s.options.edges, Log: s.options.log})
	var err error
	if s.operators, err = admin.New(admin.Config{
		Store: observed, Large: s.objects, Now: s.clock.Now, Rand: rand.Reader, Log: s.options.log, Version: version(),
	}); err != nil {
		return err
	}
	if err := s.firstToken(ctx); err != nil {
		return err
	}
	s.aggregator = &aggregate.Aggregator{Stream: s.stream, Store: s.store, Name: streamName, Log: s.options.log, Now: s.clock.Now}
	s.ticker = &promote.Ticker{
		Apps: apps, Tallies: store.Tallies{Store: s.store}, Verdicts: store.Verdicts{Store: s.store},
		Now: s.clock.Now, Log: s.options.log, Notify: s.options.notify,
	}
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(s.options.log.Handler(), slog.LevelDebug),
	}
	return nil
}

// changed tells devices and edges of a new Snapshot.
func (s *server) changed(app string) {
	s.devices.Forget(app)
	s.pusher.Changed(app)
}

// handler sends each path to its part. Devices come first: they are nearly all of the traffic.
func (s *server) handler() http.Handler {
	devices, operators, edges, metrics := s.devices.Handler(), s.operators.Handler(), s.origin.Handler(), s.metrics()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/api/"):
			operators.ServeHTTP(w, r)
		case relay.Serves(r.URL.Path):
			edges.ServeHTTP(w, r)
		case r.URL.Path == "/metrics":
			metrics.ServeHTTP(w, r)
		default:
			devices.ServeHTTP(w, r)
		}
	})
}

// firstToken makes sure that there is an admin token: the one that was given, the one stored by an earlier run, or a new
// one, which is stored where only the owner of the data directory can read it.
func (s *server) firstToken(ctx context.Context) error {
	token := s.options.token
	if token == "" {
		raw, err := os.ReadFile(s.tokenPath())
		if errors.Is(err, fs.ErrNotExist) {
			return s.newFirstToken(ctx)
		}
		if err != nil {
			return fmt.Errorf("reading the first admin token: %w", err)
		}
		token = strings.TrimSpace(string(raw))
	}
	if len(token) < guessable {
		s.options.log.Warn("the first admin token is short enough to be guessed; choose a longer PALIER_TOKEN where others reach this server")
	}
	if err := s.operators.Bootstrap(ctx, token); err != nil {
		return fmt.Errorf("storing the first admin token: %w", err)
	}
	return nil
}

func (s *server) newFirstToken(ctx context.Context) error {
	name := "local-" + s.clock.Now().UTC().Format("20060102-150405")
	token, err := s.operators.NewToken(ctx, name, admin.Admin, 0)
	if err != nil {
		return fmt.Errorf("making the first admin token: %w", err)
	}
	if err := replaceFile(s.tokenPath(), []byte(token+"\n")); err != nil {
		return fmt.Errorf("storing the first admin token: %w", err)
	}
	return nil
}

func (s *server) tokenPath() string { return filepath.Join(s.options.data, tokenFile) }

// ready is the line that says so.
func (s *server) ready() string {
	where := s.tokenPath()
	if s.options.token != "" {
		where = "PALIER_TOKEN"
	}
	return fmt.Sprintf("palier is ready at %s (data in %s, admin token in %s)", s.url(), s.options.data, where)
}

// url is where the server can be reached from this machine.
func (s *server) url() string {
	addr := s.listener.Addr().(*net.TCPAddr)
	if addr.IP.IsUnspecified() {
		return fmt.Sprintf("http://127.0.0.1:%d", addr.Port)
	}
	return "http://" + addr.String()
}

// run serves until the context ends, then stops in the order in which nothing is lost: no new requests, no more counting,
// check events flushed to the stream, where the next start finds them, files closed.
func (s *server) run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var loops sync.WaitGroup
	loops.Go(func() {
		if err := s.aggregator.Run(work); err != nil && !errors.Is(err, context.Canceled) {
			s.options.log.Error("counting telemetry stopped", "error", err)
		}
	})
	loops.Go(func() { s.tick(work) })
	failed := make(chan error, 1)
	go func() { failed <- s.http.Serve(s.listener) }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("serving: %w", err)
	}
	grace, stop := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer stop()
	if s.http.Shutdown(grace) != nil {
		_ = s.http.Close() // whoever is still dribbling a body is cut off
	}
	cancel()
	loops.Wait()
	s.close()
	return err
}

// tick judges live rollouts at every tick of the clock.
func (s *server) tick(ctx context.Context) {
	t := time.NewTicker(s.clock.Real(tickEvery, tickFloor))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if _, err := s.ticker.Tick(ctx); err != nil && ctx.Err() == nil {
				s.options.log.Error("tick failed; the next one tries again", "error", err)
			}
		}
	}
}

// close releases what was opened, in reverse.
func (s *server) close() {
	if s.pusher != nil {
		s.pusher.Close()
	}
	if s.devices != nil {
		s.devices.Close()
	}
	if s.objects != nil {
		_ = s.objects.Close()
	}
	if s.stream != nil {
		_ = s.stream.Close()
	}
	if s.store != nil {
		_ = s.store.Close()
	}
	if s.listener != nil {
		_ = s.listener.Close()
	}
	if s.lock != nil {
		_ = s.lock.Unlock()
	}
}
