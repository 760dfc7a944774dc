package guard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Share is a probability from 0, never, to 1, always.
type Share float64

// Faults are the ways in which a service fails. The zero value is a healthy service. The ones that refuse a call do so
// before the component sees it.
type Faults struct {
	// Only limits the other faults, except Down, to calls for which it is true; nil is all. operation is the API's name
	// for the call: "GetItem", "PutRecords", "PutObject".
	Only func(caller, operation string) bool

	// Down ends every connection without an answer, as a service that cannot be reached.
	Down bool
	// Delay is added before each call.
	Delay time.Duration
	// Throttle is the share of calls that are refused with one of the service's errors for too many: of DynamoDB
	// ProvisionedThroughputExceededException, ThrottlingException, or a transaction cancelled for a ThrottlingError; of
	// Kinesis ProvisionedThroughputExceededException; of S3 SlowDown.
	Throttle Share
	// Conflict is the share of DynamoDB's TransactWriteItems that are cancelled for a TransactionConflict.
	Conflict Share
	// RefuseRecords is the share of the records of each of Kinesis's PutRecords that are refused one by one, with
	// ProvisionedThroughputExceededException; the others are stored.
	RefuseRecords Share
	// Cut is the share of calls whose answer never arrives: the component has done what was asked, and the connection
	// ends.
	Cut Share
}

// SetFaults replaces the faults, for calls that arrive from now on.
func (p *Proxy) SetFaults(f Faults) { p.faults.Store(&f) }

// hits reports whether the faults are meant for the call.
func (f *Faults) hits(c *call) bool { return f.Only == nil || f.Only(c.caller, c.operation) }

func (f *Faults) cut(c *call) Share {
	if f.Cut == 0 || !f.hits(c) {
		return 0
	}
	return f.Cut
}

func (c *call) delay() time.Duration {
	if c.faults.Delay == 0 || !c.faults.hits(c) {
		return 0
	}
	return c.faults.Delay
}

// fault returns the answer to a call that is not to be passed on.
func (p *Proxy) fault(c *call) (answer, bool) {
	f := c.faults
	if !f.hits(c) {
		return answer{}, false
	}
	if p.chance(f.Throttle) {
		return p.choose(p.dialect.throttled(c)), true
	}
	if c.operation == "TransactWriteItems" && p.chance(f.Conflict) {
		return conflicted(c), true
	}
	if s, ok := p.dialect.(*streams); ok && c.operation == "PutRecords" && f.RefuseRecords > 0 {
		return p.refuseRecords(s, c)
	}
	return answer{}, false
}

// chance draws whether something of the given share happens now.
func (p *Proxy) chance(s Share) bool {
	if s <= 0 {
		return false
	}
	p.drawMu.Lock()
	defer p.drawMu.Unlock()
	return p.draw.Float64() < float64(s)
}

// choose draws one of the answers.
func (p *Proxy) choose(answers []answer) answer {
	p.drawMu.Lock()
	defer p.drawMu.Unlock()
	return answers[p.draw.IntN(len(answers))]
}

// putRecords is a PutRecords, whose records are not looked into.
type putRecords struct {
	Records    []json.RawMessage
	StreamName string `json:",omitempty"`
	StreamARN  string `json:",omitempty"`
	StreamID   string `json:"StreamId,omitempty"`
}

// putAnswer is the answer to it.
type putAnswer struct {
	FailedRecordCount int
	Records           []json.RawMessage
	EncryptionType    string `json:",omitempty"`
}

// refuseRecords takes some records out of the call; they are answered for by mergeRefused. If none is left, it answers
// itself.
func (p *Proxy) refuseRecords(s *streams, c *call) (answer, bool) {
	var request putRecords
	if err := json.Unmarshal(c.body, &request); err != nil {
		return s.malformed(err), true
	}
	c.refused = make([]bool, len(request.Records))
	var kept []json.RawMessage
	for i, record := range request.Records {
		if c.refused[i] = p.chance(c.faults.RefuseRecords); !c.refused[i] {
			kept = append(kept, record)
		}
	}
	if len(kept) == 0 {
		body, err := merged(c.refused, putAnswer{})
		if err != nil {
			return s.malformed(err), true
		}
		return answer{status: http.StatusOK, contentType: json11, body: body}, true
	}
	request.Records = kept
	body, err := json.Marshal(request)
	if err != nil {
		return s.malformed(err), true
	}
	c.body = body
	return answer{}, false
}

// mergeRefused puts the refused records back into the component's answer, each in its place.
func mergeRefused(c *call, resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		return nil
	}
	body, err := takeBody(resp)
	if err != nil {
		return err
	}
	var done putAnswer
	if err := json.Unmarshal(body, &done); err != nil {
		return fmt.Errorf("decode the answer to PutRecords: %w", err)
	}
	if body, err = merged(c.refused, done); err != nil {
		return err
	}
	putBody(resp, body)
	return nil
}

// merged is the answer for all records, of which done has those that were not refused.
func merged(refused []bool, done putAnswer) ([]byte, error) {
	failure, err := json.Marshal(struct{ ErrorCode, ErrorMessage string }{
		throughputExceeded, rateExceeded,
	})
	if err != nil {
		return nil, err
	}
	stored := done.Records
	done.Records = make([]json.RawMessage, len(refused))
	for i, no := range refused {
		switch {
		case no:
			done.Records[i] = failure
			done.FailedRecordCount++
		case len(stored) == 0:
			return nil, fmt.Errorf("PutRecords was answered for too few records")
		default:
			done.Records[i], stored = stored[0], stored[1:]
		}
	}
	return json.Marshal(done)
}

// takeBody reads an answer's body and puts it back.
func takeBody(resp *http.Response) ([]byte, error) {
	body, err := readAll(io.LimitReader(resp.Body, maxBody+1), resp.ContentLength)
	if err == nil && len(body) > maxBody {
		err = fmt.Errorf("an answer of more than %d bytes", maxBody)
	}
	_ = resp.Body.Close()
	putBody(resp, body)
	return body, err
}

func putBody(resp *http.Response, body []byte) {
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
}
