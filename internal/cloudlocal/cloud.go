// Package cloudlocal runs the serverless shape on one machine: what template.yaml says, with every function's unmodified
// bootstrap, in front of real servers.
//
//	devices, operators → gateway → runtimeapi (resolve, ingest, relay, admin) → guard → DynamoDB Local, Kinesis, S3
//	                      stream → source → runtimeapi (aggregate)            → guard → …
//	                       clock → schedule → runtimeapi (promote)            → guard → …
//
// Package template reads what there is to run. Package component brings the servers. Package runtimeapi is Lambda,
// package gateway API Gateway, package source the event source mapping, and the schedule in this package EventBridge
// Scheduler. Between the functions and the servers stand guards: each function has credentials of its own, a guard knows
// by them who asks, refuses what the template's policies do not allow, and remembers what was used. Tests can make a
// guard fail like AWS does under load.
//
// It is a tool for development and tests, not a place to keep anything: all is gone when it closes.
package cloudlocal

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/palier-ota/palier/internal/clock"
	"github.com/palier-ota/palier/internal/cloudlocal/runtimeapi"
	"github.com/palier-ota/palier/internal/cloudlocal/source"
	"github.com/palier-ota/palier/internal/cloudlocal/template"
)

// Paces of real time, however fast the clock runs.
const (
	shortest   = 250 * time.Millisecond // of a batching window
	streamPoll = 250 * time.Millisecond // where Lambda polls once a second, so that a fast clock's hours are not missed
	tickFloor  = time.Second            // of the schedule
	retryFloor = 250 * time.Millisecond // of a failed tick
)

// Options are what Start needs. Template and Functions are required.
type Options struct {
	Template   string            // path of template.yaml
	Parameters map[string]string // of the template; the others have their defaults
	Functions  string            // folder of the built functions: {program}/bootstrap
	AdminToken string            // the first admin token; empty: there is none
	Listen     string            // address of the HTTP API; empty: a free port on loopback
	Components string            // where the servers are installed; empty: the user's cache folder

	Scale       float64       // of the clock; zero: 1
	SnapshotTTL time.Duration // zero: the template's, but never less than a second of real time
	Concurrency int           // of each function without a reservation; zero: 8
	// Tune may change an event source mapping before it runs.
	Tune func(*source.Mapping)

	Output io.Writer    // what the functions log; nil: nothing
	Log    *slog.Logger // nil: none
}

// Cloud is a local cloud that runs. Its fields must not be changed.
type Cloud struct {
	Template *template.Template
	Clock    *clock.Clock
	DynamoDB Engine
	Kinesis  Engine
	S3       Engine

	options  Options
	secrets  map[string]string // by function id
	pools    map[string]*runtimeapi.Pool
	mappings map[string]*source.Mapping
	listener net.Listener
	http     *http.Server
	work     sync.WaitGroup
	stop     context.CancelFunc

	deniedMu sync.Mutex
	denied   []Denial
}

// Start starts everything and returns when it can be used. ctx bounds the start only; the first one on a machine installs
// the servers, which takes a minute or two. When it fails nothing is left running.
func Start(ctx context.Context, o Options) (*Cloud, error) {
	o.Output = orDiscard(o.Output)
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	c := &Cloud{options: o, secrets: map[string]string{}, pools: map[string]*runtimeapi.Pool{}, mappings: map[string]*source.Mapping{}}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the local cloud: %w", err), c.Close())
	}
	return c, nil
}

func (c *Cloud) start(ctx context.Context) (err error) {
	if c.Clock, err = newClock(cmp.Or(c.options.Scale, 1)); err != nil {
		return err
	}
	if c.Template, err = template.Read(c.options.Template, template.Options{Parameters: c.parameters()}); err != nil {
		return err
	}
	for _, f := range c.Template.Functions {
		c.secrets[f.ID] = rand.Text()
	}
	if err := c.built(); err != nil { // before the servers, which take a while
		return err
	}
	if err := c.startEngines(ctx); err != nil {
		return err
	}
	if err := c.create(ctx); err != nil {
		return err
	}
	if err := c.startFunctions(); err != nil {
		return err
	}
	if err := c.startLoop(); err != nil {
		return err
	}
	return c.listen()
}

// newClock returns the real time, or a clock that runs faster from now on.
func newClock(scale float64) (*clock.Clock, error) {
	if scale == 1 {
		return clock.Real(), nil
	}
	now := time.Now()
	return clock.New(clock.Anchor{Real: now, Clock: now, Scale: scale})
}

// parameters are the given ones and what only this run knows.
func (c *Cloud) parameters() map[string]string {
	all := map[string]string{"Stage": "local"}
	if token := c.options.AdminToken; token != "" {
		sum := sha256.Sum256([]byte(token))
		all["AdminTokenSha256"] = hex.EncodeToString(sum[:])
	}
	for name, v := range c.options.Parameters {
		all[name] = v
	}
	return all
}

// startLoop starts what invokes functions by itself: the event source mappings and the schedules.
func (c *Cloud) startLoop() error {
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	for _, f := range c.Template.Functions {
		if f.Stream != nil {
			m, err := c.mapping(f)
			if err != nil {
				return err
			}
			c.mappings[f.ID] = m
			c.work.Go(func() {
				if err := m.Run(ctx); err != nil {
					c.options.Log.Error("an event source mapping stopped", "function", f.ID, "error", err)
				}
			})
		}
		if f.Schedule != nil {
			s := c.schedule(f)
			c.work.Go(func() { s.run(ctx) })
		}
	}
	return nil
}

// schedule is the schedule of a function.
func (c *Cloud) schedule(f template.Function) *schedule {
	return &schedule{
		every: c.Clock.Real(f.Schedule.Every, tickFloor), retries: f.Schedule.MaxRetries,
		maxAge: c.Clock.Real(f.Schedule.MaxAge, tickFloor), retry: c.Clock.Real(time.Minute, retryFloor),
		event:  func(tick time.Time) ([]byte, error) { return tickOf(f, tick) },
		invoke: c.pools[f.ID].Invoke, log: c.options.Log.With("function", f.ID),
	}
}

// tickOf is the event of one tick of a function's schedule.
func tickOf(f template.Function, at time.Time) ([]byte, error) {
	arn := "arn:aws:scheduler:" + template.Region + ":" + template.Account + ":schedule/default/" + f.Name
	return scheduled(runtimeapi.NewID(), arn, template.Region, template.Account, at)
}

// Tick invokes a scheduled function once, beside its schedule, and returns what it answered. It fails when the function
// has no schedule, cannot be invoked, or fails.
func (c *Cloud) Tick(ctx context.Context, id string) ([]byte, error) {
	f, ok := c.Template.Function(id)
	if !ok || f.Schedule == nil {
		return nil, fmt.Errorf("there is no scheduled function %s", id)
	}
	event, err := tickOf(f, time.Now())
	if err != nil {
		return nil, err
	}
	result, err := c.pools[id].Invoke(ctx, event)
	if err == nil && result.FunctionError != "" {
		err = fmt.Errorf("function %s: %s: %s", id, result.FunctionError, result.Payload)
	}
	return result.Payload, err
}

// listen serves the HTTP API.
func (c *Cloud) listen() error {
	api, err := c.api()
	if err != nil {
		return err
	}
	if c.listener, err = net.Listen("tcp", cmp.Or(c.options.Listen, "127.0.0.1:0")); err != nil {
		return fmt.Errorf("listening for requests: %w [choose another address]", err)
	}
	c.http = &http.Server{
		Handler: api, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 10 << 10, ErrorLog: slog.NewLogLogger(c.options.Log.Handler(), slog.LevelDebug),
	}
	c.work.Go(func() {
		if err := c.http.Serve(c.listener); !errors.Is(err, http.ErrServerClosed) {
			c.options.Log.Error("the HTTP API stopped", "error", err)
		}
	})
	return nil
}

// URL is where the HTTP API can be reached.
func (c *Cloud) URL() string { return "http://" + c.listener.Addr().String() }

// Function returns the pool of the function with this logical id, nil if there is none.
func (c *Cloud) Function(id string) *runtimeapi.Pool { return c.pools[id] }

// Mapping returns the event source mapping of the function with this logical id, nil if it has none.
func (c *Cloud) Mapping(id string) *source.Mapping { return c.mappings[id] }

// Close ends everything that Start started, in the reverse order: what invokes, the functions, the servers. It returns
// when all processes are gone.
func (c *Cloud) Close() error {
	var errs []error
	if c.stop != nil {
		c.stop()
	}
	if c.http != nil {
		errs = append(errs, c.http.Close())
	}
	for _, pool := range c.pools {
		errs = append(errs, pool.Close())
	}
	c.work.Wait()
	for _, e := range []*Engine{&c.DynamoDB, &c.Kinesis, &c.S3} {
		errs = append(errs, e.close())
	}
	return errors.Join(errs...)
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
