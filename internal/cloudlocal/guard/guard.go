// Package guard is a reverse proxy that stands before a server of package component and does what AWS would do there
// and the server does not: it knows who calls, lets through only what the caller's policies allow, and can be told to
// throttle, stall and fail.
//
// # Who and what
//
// The caller is the access key id that the request was signed with; a presigned URL is a call of who signed it. The
// request is read into IAM's terms: its actions, the resources they touch, and the context keys a policy may ask for.
// A TransactWriteItems, for example, needs dynamodb:PutItem, DeleteItem, UpdateItem or ConditionCheckItem of each of
// its parts, and each with the partition key that it names. If any one need is refused, the call is answered with the
// service's own AccessDeniedException and goes no further. A call that cannot be read is refused as well.
//
// # The record
//
// What was allowed is counted (Uses), so that a test can show, after a run that exercised everything, that no policy
// grants more than was used.
//
// # Faults
//
// SetFaults makes the service fail in the ways that its documentation lists and that clients must survive, in its own
// error shapes. Which calls are hit follows from the seed and the order of the calls.
//
// # What it is not
//
// It does not check signatures, and it protects nothing from anyone: it is a development tool on a loopback address. Of
// policies it knows those of the callers alone, neither resource policies nor KMS. The S3 server behind it knows no
// session tokens: callers must sign without one.
package guard

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/palier-ota/palier/internal/cloudlocal/component"
	"github.com/palier-ota/palier/internal/cloudlocal/policy"
)

// Service is an AWS service that a Proxy can stand before.
type Service string

// The services.
const (
	DynamoDB Service = "dynamodb"
	Kinesis  Service = "kinesis"
	S3       Service = "s3"
)

// maxBody bounds the requests that are read whole: DynamoDB takes 16 MB, Kinesis 10 MiB in base64. S3's are passed on
// as they come.
const maxBody = 20 << 20

// Options are what a Proxy is made from. Service and Upstream are required.
type Options struct {
	Service  Service
	Upstream string // the component's URL
	// Region and Account are those of the ARNs that policies are asked about; empty, those of package component.
	Region, Account string
	// PartitionKey is the name of every table's partition key attribute; "" is "pk".
	PartitionKey string
	// Authorize decides whether caller, an access key id ("" for an unsigned request), may do r. It is called from many
	// goroutines. nil allows everything.
	Authorize func(caller string, r policy.Request) bool
	Seed      uint64       // of the choice of calls that faults hit
	Log       *slog.Logger // told of refusals; nil is silent
}

// Proxy is a guard before one component. It is an http.Handler, and its methods may be called from any goroutine.
type Proxy struct {
	// URL is where a started Proxy listens, an endpoint for AWS clients.
	URL string

	options  Options
	dialect  dialect
	upstream *httputil.ReverseProxy
	server   *http.Server

	faults atomic.Pointer[Faults]
	drawMu sync.Mutex
	draw   *rand.Rand
	record *record
}

// dialect is what differs between the services.
type dialect interface {
	// read says what a request does. body is the whole body, or nil if the service's bodies are not read.
	read(r *http.Request, caller string, body []byte) (operation string, needs []need, err error)
	// readsBody says whether read wants the body.
	readsBody() bool
	// malformed and denied are the service's answers to a call that is refused.
	malformed(err error) answer
	denied(caller string, n need) answer
	// throttled are its answers to one call too many; a client must expect any of them.
	throttled(c *call) []answer
}

// New makes a Proxy to be used as a handler. The error says what is wrong with the options.
func New(o Options) (*Proxy, error) {
	upstream, err := url.Parse(o.Upstream)
	if err != nil || upstream.Host == "" {
		return nil, fmt.Errorf("guard %s: upstream %q is not a URL", o.Service, o.Upstream)
	}
	o.Region = cmp.Or(o.Region, component.Region)
	o.Account = cmp.Or(o.Account, component.Account)
	o.PartitionKey = cmp.Or(o.PartitionKey, "pk")
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	p := &Proxy{options: o, draw: rand.New(rand.NewPCG(o.Seed, 0)), record: newRecord()}
	p.faults.Store(&Faults{})
	switch o.Service {
	case DynamoDB:
		p.dialect = dynamo{o}
	case Kinesis:
		p.dialect = &streams{options: o}
	case S3:
		p.dialect = objects{o}
	default:
		return nil, fmt.Errorf("guard: no service %q", o.Service)
	}
	p.upstream = p.newUpstream(upstream)
	return p, nil
}

// Start makes a Proxy and lets it listen on a free loopback port; see its URL. Close ends it.
func Start(o Options) (*Proxy, error) {
	p, err := New(o)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("guard %s: %w", o.Service, err)
	}
	p.URL = "http://" + listener.Addr().String()
	p.server = &http.Server{
		Handler: p, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(p.options.Log.Handler(), slog.LevelWarn),
	}
	go func() { _ = p.server.Serve(listener) }()
	return p, nil
}

// Close ends a started Proxy at once, with the calls under way.
func (p *Proxy) Close() error {
	if p.server == nil {
		return nil
	}
	return p.server.Close()
}

// call is one request on its way.
type call struct {
	caller    string
	operation string
	needs     []need
	body      []byte // nil if it was not read
	faults    *Faults
	refused   []bool // the records of a PutRecords that are not passed on; nil if all are
}

// ServeHTTP answers one call.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{caller: callerOf(r), faults: p.faults.Load()}
	if c.faults.Down {
		panic(http.ErrAbortHandler) // ends the connection without an answer
	}
	if err := p.read(w, r, c); err != nil {
		p.options.Log.Warn("call not understood", "service", p.options.Service, "caller", c.caller, "error", err)
		p.dialect.malformed(err).write(w)
		return
	}
	if n := p.refusedNeed(c); n != nil {
		p.options.Log.Warn("call denied", "service", p.options.Service, "caller", c.caller, "operation", c.operation,
			"action", n.Action, "resource", n.class, "leading_key", n.key)
		p.dialect.denied(c.caller, *n).write(w)
		return
	}
	p.record.used(c)
	if !wait(r.Context(), c.delay()) {
		panic(http.ErrAbortHandler)
	}
	if a, hit := p.fault(c); hit {
		a.write(w)
		return
	}
	p.pass(w, r, c)
}

// read fills in what the call does.
func (p *Proxy) read(w http.ResponseWriter, r *http.Request, c *call) (err error) {
	if p.dialect.readsBody() {
		if c.body, err = readAll(http.MaxBytesReader(w, r.Body, maxBody), r.ContentLength); err != nil {
			return fmt.Errorf("read the body: %w", err)
		}
	}
	c.operation, c.needs, err = p.dialect.read(r, c.caller, c.body)
	return err
}

// readAll is io.ReadAll for a body whose size is known, usually.
func readAll(r io.Reader, size int64) ([]byte, error) {
	var b bytes.Buffer
	if size > 0 && size <= maxBody {
		b.Grow(int(size) + bytes.MinRead)
	}
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}

// refusedNeed returns the first need that the caller's policies do not allow, or nil.
func (p *Proxy) refusedNeed(c *call) *need {
	if p.options.Authorize == nil {
		return nil
	}
	for i := range c.needs {
		if !p.options.Authorize(c.caller, c.needs[i].Request) {
			return &c.needs[i]
		}
	}
	return nil
}

// callerOf is the access key id that a request, or a presigned URL, was signed with; "" if it was not.
// Source: "Authenticating Requests (AWS Signature Version 4)" in the Amazon S3 API Reference.
func callerOf(r *http.Request) string {
	credential := ""
	if _, after, ok := strings.Cut(r.Header.Get("Authorization"), "Credential="); ok {
		credential = after
	} else if strings.Contains(r.URL.RawQuery, "X-Amz-Credential=") {
		credential = r.URL.Query().Get("X-Amz-Credential")
	}
	key, _, _ := strings.Cut(credential, "/")
	return key
}

// wait lets d pass and reports whether it did before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
