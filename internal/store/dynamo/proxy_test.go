package dynamo_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// fault is what the proxy does to one request instead of passing it on, or after it did.
type fault string

const (
	none            fault = ""
	throughput      fault = "ProvisionedThroughputExceededException"
	throttling      fault = "ThrottlingException"
	inProgress      fault = "TransactionInProgressException"
	ongoing         fault = "TransactionConflictException" // of plain writes
	collection      fault = "ItemCollectionSizeLimitExceededException"
	invalid         fault = "ValidationException"
	broken          fault = "InternalServerError" // with status 500
	gateway         fault = "a page of HTML"      // with status 503
	cutBefore       fault = "cut before the server heard of it"
	cutAfter        fault = "cut after the server carried it out"
	cutWithin       fault = "cut within the answer"
	silent          fault = "no answer until the caller gives up"
	conflict        fault = "cancelled: TransactionConflict"
	overloaded      fault = "cancelled: ThrottlingError"
	overThroughput  fault = "cancelled: ProvisionedThroughputExceeded"
	overCollection  fault = "cancelled: ItemCollectionSizeLimitExceeded"
	invalidated     fault = "cancelled: ValidationError"
	conditionFailed fault = "cancelled: ConditionalCheckFailed"
	forbidden       fault = "cancelled: AccessDenied"
)

// request is one request that the proxy saw.
type request struct {
	operation string // "GetItem"
	token     string // of a transaction
	items     int    // of a transaction
}

// proxy stands between a store and the server and does what choose says.
type proxy struct {
	target string
	choose func(request) fault

	mu       sync.Mutex
	requests []request
	faults   map[fault]int
}

// newProxy starts a proxy to the server.
func newProxy(t *testing.T, choose func(request) fault) (*proxy, string) {
	t.Helper()
	p := &proxy{target: endpoint(t), choose: choose, faults: map[fault]int{}}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return p, s.URL
}

func (p *proxy) note(body []byte, target string) (request, fault) {
	var transaction struct {
		ClientRequestToken string
		TransactItems      []json.RawMessage
	}
	_ = json.Unmarshal(body, &transaction) // other requests have neither
	_, operation, _ := strings.Cut(target, ".")
	r := request{operation, transaction.ClientRequestToken, len(transaction.TransactItems)}
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.choose(r)
	p.requests = append(p.requests, r)
	p.faults[f]++
	return r, f
}

// seen returns the requests since the last call.
func (p *proxy) seen() []request {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.requests
	p.requests = nil
	return seen
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller gave up
	}
	what, f := p.note(body, r.Header.Get("X-Amz-Target"))
	reason, cancelled := strings.CutPrefix(string(f), "cancelled: ")
	switch {
	case f == none:
		p.forward(w, r, body)
	case cancelled:
		refuse(w, http.StatusBadRequest, cancellation(reason, what.items))
	case f == broken:
		refuse(w, http.StatusInternalServerError, failure(f))
	case f == gateway:
		refuse(w, http.StatusServiceUnavailable, "<html>no backend</html>")
	case f == cutBefore:
		panic(http.ErrAbortHandler)
	case f == cutAfter:
		p.forward(httptest.NewRecorder(), r, body)
		panic(http.ErrAbortHandler)
	case f == cutWithin:
		p.forward(&half{w}, r, body)
		panic(http.ErrAbortHandler)
	case f == silent:
		<-r.Context().Done()
	default:
		refuse(w, http.StatusBadRequest, failure(f))
	}
}

func (p *proxy) forward(w http.ResponseWriter, r *http.Request, body []byte) {
	out, err := http.NewRequestWithContext(r.Context(), r.Method, p.target, bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	out.Header = r.Header
	answer, err := transport.RoundTrip(out)
	if err != nil {
		panic(http.ErrAbortHandler) // the caller gave up
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	w.WriteHeader(answer.StatusCode)
	_, _ = w.Write(text)
}

// half writes the first half of an answer.
type half struct{ http.ResponseWriter }

func (h *half) Write(text []byte) (int, error) {
	n, err := h.ResponseWriter.Write(text[:len(text)/2])
	h.ResponseWriter.(http.Flusher).Flush()
	return n, err
}

func refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

func failure(f fault) string {
	return fmt.Sprintf(`{"__type":"com.amazonaws.dynamodb.v20120810#%s","message":"injected"}`, f)
}

// cancellation is the answer to a transaction of so many items whose last was in the way.
func cancellation(reason string, items int) string {
	reasons := strings.Repeat(`{"Code":"None"},`, max(0, items-1))
	reasons += fmt.Sprintf(`{"Code":%q,"Message":"injected"}`, reason)
	return fmt.Sprintf(`{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException",`+
		`"Message":"Transaction cancelled","CancellationReasons":[%s]}`, reasons)
}
