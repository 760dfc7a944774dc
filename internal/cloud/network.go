package cloud

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// Bounds of one attempt of one request. Retries, and how long a caller waits in all, are the engines' and callers' own; one
// attempt takes a third of what a device's report may take at most, so that a connection that says nothing is given up
// while there is time for another.
const (
	dialTimeout     = 2 * time.Second
	tlsTimeout      = 3 * time.Second
	responseTimeout = 3 * time.Second // from the request's last byte to the answer's first
)

const (
	// idleConnections is how many are kept to one host: a function answers one request at a time, and only loads several
	// things at once when it starts or works through a batch.
	idleConnections = 8
	// idleTimeout ends a connection before AWS does, which is after about a minute, so that a request seldom meets one
	// that has just been closed. A connection that died while the process was frozen is noticed when it is used, and the
	// request is sent again.
	idleTimeout = 40 * time.Second
)

// AWS returns how a service is reached, DYNAMODB, KINESIS or S3: what its client is made from, and its endpoint, nil for
// AWS's own. Nothing is opened.
func (e *Environment) AWS(service string) (config aws.Config, endpoint *string) {
	config = aws.Config{
		Region: e.Required("AWS_REGION"),
		Credentials: credentials.NewStaticCredentialsProvider(
			e.Required("AWS_ACCESS_KEY_ID"), e.Required("AWS_SECRET_ACCESS_KEY"), e.get("AWS_SESSION_TOKEN")),
		HTTPClient: e.client,
	}
	if u := e.endpoint(service); u != nil {
		endpoint = aws.String(u.String())
	}
	return config, endpoint
}

// errNoURL is what is wrong with an endpoint.
var errNoURL = errors.New("want a URL such as http://127.0.0.1:8000")

// endpoint returns where a service is if it is not AWS's; nil otherwise.
func (e *Environment) endpoint(service string) *url.URL {
	name := "AWS_ENDPOINT_URL_" + service
	text := e.get(name)
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err == nil && (u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		err = errNoURL
	}
	if err != nil {
		e.refuse(name, err)
		return nil
	}
	return u
}

// newHTTPClient returns the client of all engines. HTTP/2 is left out, since none of the services speaks it for what is
// asked of them.
func newHTTPClient() *http.Client {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Client{
		Transport: &http.Transport{
			DialContext:           dialer.DialContext,
			TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(idleConnections)},
			TLSHandshakeTimeout:   tlsTimeout,
			ResponseHeaderTimeout: responseTimeout,
			MaxIdleConns:          2 * idleConnections,
			MaxIdleConnsPerHost:   idleConnections,
			IdleConnTimeout:       idleTimeout,
			Protocols:             &protocols,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // signatures are for one host
	}
}
