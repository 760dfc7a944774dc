package gateway

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// What a local API cannot have of its own: AWS's example account, and an id.
const (
	accountID = "123456789012"
	apiID     = "local"
	stage     = "$default"
)

// event is a request in payload format 2.0.
type event struct {
	Version        string            `json:"version"`
	RouteKey       string            `json:"routeKey"`
	RawPath        string            `json:"rawPath"`
	RawQueryString string            `json:"rawQueryString"`
	Cookies        []string          `json:"cookies,omitempty"`
	Headers        map[string]string `json:"headers"`
	Query          map[string]string `json:"queryStringParameters,omitempty"`
	Context        requestContext    `json:"requestContext"`
	Path           map[string]string `json:"pathParameters,omitempty"`
	Body           string            `json:"body,omitempty"`
	Base64         bool              `json:"isBase64Encoded"`
}

type requestContext struct {
	AccountID    string      `json:"accountId"`
	APIID        string      `json:"apiId"`
	DomainName   string      `json:"domainName"`
	DomainPrefix string      `json:"domainPrefix"`
	HTTP         httpContext `json:"http"`
	RequestID    string      `json:"requestId"`
	RouteKey     string      `json:"routeKey"`
	Stage        string      `json:"stage"`
	Time         string      `json:"time"`
	TimeEpoch    int64       `json:"timeEpoch"` // milliseconds
}

type httpContext struct {
	Method    string `json:"method"`
	Path      string `json:"path"`
	Protocol  string `json:"protocol"`
	SourceIP  string `json:"sourceIp"`
	UserAgent string `json:"userAgent"`
}

// newEvent returns the event that a request is to its function.
func newEvent(q *request) ([]byte, error) {
	e := event{
		Version:        "2.0",
		RouteKey:       q.route.key,
		RawPath:        q.URL.Path, // decoded, as HTTP APIs send it, whatever its name says
		RawQueryString: q.URL.RawQuery,
		Cookies:        cookies(q.Header),
		Headers:        headers(q),
		Query:          query(q.URL),
		Path:           q.parameters,
		Context:        newContext(q),
		Body:           string(q.body),
	}
	if len(q.body) > 0 && !isText(q.Header.Get("Content-Type"), q.body) {
		e.Body, e.Base64 = base64.StdEncoding.EncodeToString(q.body), true
	}
	return e.encode()
}

func newContext(q *request) requestContext {
	host := hostname(q.Host)
	prefix, _, _ := strings.Cut(host, ".")
	return requestContext{
		AccountID: accountID, APIID: apiID, DomainName: host, DomainPrefix: prefix,
		RequestID: q.id, RouteKey: q.route.key, Stage: stage,
		Time: q.at.UTC().Format("02/Jan/2006:15:04:05 -0700"), TimeEpoch: q.at.UnixMilli(),
		HTTP: httpContext{
			Method: q.Method, Path: q.URL.Path, Protocol: q.Proto, SourceIP: hostname(q.RemoteAddr), UserAgent: q.UserAgent(),
		},
	}
}

func (e *event) encode() ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // nor does API Gateway
	if err := encoder.Encode(e); err != nil {
		return nil, fmt.Errorf("making the event of a request: %w", err)
	}
	return bytes.TrimRight(text.Bytes(), "\n"), nil
}

// isText reports whether a body goes into the event as it is: text/* and three application types do, as observed of
// HTTP APIs, which do not document it. A body without a type, a form, and what is not UTF-8 go in base64.
func isText(contentType string, body []byte) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil || !utf8.Valid(body) {
		return false
	}
	switch kind {
	case "application/json", "application/javascript", "application/xml":
		return true
	}
	return strings.HasPrefix(kind, "text/")
}

// headers returns the request's headers with names in lower case and values of one name joined by commas; without those
// of the connection and the cookies, which have a place of their own; with those that API Gateway adds.
func headers(q *request) map[string]string {
	out := make(map[string]string, len(q.Header)+6)
	for name, values := range q.Header {
		switch name {
		case "Cookie", "Connection", "Keep-Alive", "Te", "Trailer", "Upgrade", "Proxy-Connection":
		default:
			out[strings.ToLower(name)] = strings.Join(values, ",")
		}
	}
	out["host"] = q.Host
	out["content-length"] = strconv.Itoa(len(q.body))
	out["x-amzn-trace-id"] = fmt.Sprintf("Root=1-%08x-%x", q.at.Unix(), random(12))
	out["x-forwarded-proto"] = "https" // an HTTP API has no other
	out["x-forwarded-port"] = "443"
	source := hostname(q.RemoteAddr) // whatever X-Forwarded-For claims is before it
	if before := out["x-forwarded-for"]; before != "" {
		source = before + ", " + source
	}
	out["x-forwarded-for"] = source
	return out
}

func cookies(h http.Header) []string {
	var list []string
	for _, line := range h.Values("Cookie") {
		for pair := range strings.SplitSeq(line, ";") {
			if pair = strings.TrimSpace(pair); pair != "" {
				list = append(list, pair)
			}
		}
	}
	return list
}

// query returns the decoded parameters, values of one name joined by commas. What is malformed is left out of it; the
// raw query string has it still.
func query(u *url.URL) map[string]string {
	values, _ := url.ParseQuery(u.RawQuery) // the error tells of the first malformed pair, the values are the others
	if len(values) == 0 {
		return nil
	}
	out := make(map[string]string, len(values))
	for name, list := range values {
		out[name] = strings.Join(list, ",")
	}
	return out
}

// hostname is an address without its port.
func hostname(address string) string {
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return name
}

// requestID looks like those of API Gateway: 16 characters of base64.
func requestID() string { return base64.StdEncoding.EncodeToString(random(11)) }

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}
