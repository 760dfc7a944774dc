package apigateway

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"github.com/palier-ota/palier/internal/jsontext"
)

// Errors of Parse.
var (
	// ErrNoEvent: the bytes are no event of an HTTP API in payload format 2.0.
	ErrNoEvent = errors.New("not an event of an HTTP API, payload format 2.0")
	// ErrTooLarge: the event is over MaxPayloadBytes.
	ErrTooLarge = errors.New("event too large")
)

// format is the version that events of this format carry.
const format = "2.0"

// defaultStage is the stage whose name is not part of the path.
const defaultStage = "$default"

// Request is what a function needs of an event. Its fields share memory with the event and with the Request itself: they
// are valid until either is used again, and what is to be kept must be cloned.
type Request struct {
	Method    string
	Path      string // decoded, as API Gateway sends it, and without the stage that some URLs begin with
	Query     string // as it came, without the question mark
	Body      []byte // decoded if it was in base64
	SourceIP  string // the other end of the connection
	Forwarded string // the header X-Forwarded-For, in which SourceIP is the last; whoever asks can write the rest
	RequestID string

	version, stage string
	decoded        []byte // memory of what had to be decoded; when it grows, fields go on pointing to where it was
}

// Parse reads an event. It fails with ErrNoEvent, and with ErrTooLarge. It allocates only to let r grow.
func (r *Request) Parse(event []byte) error {
	*r = Request{decoded: r.decoded[:0]}
	if len(event) > MaxPayloadBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(event), MaxPayloadBytes)
	}
	s := scanner{text: event}
	body, base64 := r.members(&s)
	if s.peek() != 0 || s.at != len(event) {
		s.failed = true
	}
	if s.failed {
		return fmt.Errorf("%w: it is not JSON, or a field has another type, at byte %d", ErrNoEvent, s.at)
	}
	if r.version != format || r.Method == "" || !strings.HasPrefix(r.Path, "/") {
		return fmt.Errorf("%w: version %.20q, method %.20q", ErrNoEvent, r.version, r.Method)
	}
	r.leaveStage()
	return r.readBody(body, base64)
}

// members reads the event itself. The body is read last, since only then is it known whether it is in base64.
func (r *Request) members(s *scanner) (body quoted, base64 bool) {
	s.enter('{')
	for first := true; s.next('}', first); first = false {
		switch string(s.key()) {
		case "version":
			r.version = r.text(s)
		case "rawPath":
			r.Path = r.text(s)
		case "rawQueryString":
			r.Query = r.text(s)
		case "headers":
			r.headers(s)
		case "requestContext":
			r.context(s)
		case "body":
			body = optionalString(s)
		case "isBase64Encoded":
			base64 = flag(s)
		default:
			s.skip()
		}
	}
	return body, base64
}

// headers reads the member headers. API Gateway writes their names in lower case, and joins those of one name by commas.
func (r *Request) headers(s *scanner) {
	r.Forwarded = ""
	if s.peek() == 'n' {
		s.word("null")
		return
	}
	s.enter('{')
	for first := true; s.next('}', first); first = false {
		if string(s.key()) == "x-forwarded-for" {
			r.Forwarded = r.text(s)
			continue
		}
		s.skip()
	}
}

// context reads the member requestContext.
func (r *Request) context(s *scanner) {
	r.RequestID, r.stage, r.Method, r.SourceIP = "", "", "", ""
	if s.peek() == 'n' {
		s.word("null")
		return
	}
	s.enter('{')
	for first := true; s.next('}', first); first = false {
		switch string(s.key()) {
		case "requestId":
			r.RequestID = r.text(s)
		case "stage":
			r.stage = r.text(s)
		case "http":
			r.http(s)
		default:
			s.skip()
		}
	}
}

// http reads the member http of requestContext.
func (r *Request) http(s *scanner) {
	r.Method, r.SourceIP = "", ""
	if s.peek() == 'n' {
		s.word("null")
		return
	}
	s.enter('{')
	for first := true; s.next('}', first); first = false {
		switch string(s.key()) {
		case "method":
			r.Method = r.text(s)
		case "sourceIp":
			r.SourceIP = r.text(s)
		default:
			s.skip()
		}
	}
}

// leaveStage removes the stage from the path: the URLs of every stage but the default one begin with its name.
func (r *Request) leaveStage() {
	if r.stage == "" || r.stage == defaultStage {
		return
	}
	rest, ok := strings.CutPrefix(r.Path[1:], r.stage)
	if ok && strings.HasPrefix(rest, "/") {
		r.Path = rest
	}
}

// readBody decodes the body.
func (r *Request) readBody(body quoted, encoded bool) error {
	if !encoded {
		r.Body = r.value(body)
		return nil
	}
	text := r.value(body)
	start := len(r.decoded)
	var err error
	if r.decoded, err = base64.StdEncoding.AppendDecode(r.decoded, text); err != nil {
		return fmt.Errorf("%w: its body is not base64: %w", ErrNoEvent, err)
	}
	r.Body = r.decoded[start:]
	return nil
}

// text reads a string; null is the empty one.
func (r *Request) text(s *scanner) string {
	b := r.value(optionalString(s))
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// optionalString reads a string; null is the empty one.
func optionalString(s *scanner) quoted {
	if s.peek() == 'n' {
		s.word("null")
		return quoted{verbatim: true}
	}
	return s.quoted()
}

// value returns what a string means: where it stands if it has no escapes, decoded into r's memory otherwise.
func (r *Request) value(q quoted) []byte {
	if q.verbatim {
		return q.text
	}
	start := len(r.decoded)
	r.decoded = jsontext.Unescape(r.decoded, q.text)
	return r.decoded[start:]
}

// flag reads a boolean; null is false.
func flag(s *scanner) bool {
	switch s.peek() {
	case 't':
		s.word("true")
		return !s.failed
	case 'n':
		s.word("null")
	default:
		s.word("false")
	}
	return false
}
