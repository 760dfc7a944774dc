package apigateway

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/palier-ota/palier/internal/jsontext"
)

// seen is what Parse makes of an event, in memory of its own.
type seen struct{ Method, Path, Query, Body, SourceIP, Forwarded, RequestID string }

func scanned(r *Request, event []byte) (seen, error) {
	if err := r.Parse(event); err != nil {
		return seen{}, err
	}
	return seen{
		strings.Clone(r.Method), strings.Clone(r.Path), strings.Clone(r.Query), string(r.Body), strings.Clone(r.SourceIP),
		strings.Clone(r.Forwarded), strings.Clone(r.RequestID),
	}, nil
}

// plain is Parse's slow twin, with encoding/json: the same events are taken, and the same is seen in them.
func plain(event []byte) (seen, error) {
	if !utf8.Valid(event) || depth(event) > jsontext.MaxDepth || len(event) > MaxPayloadBytes {
		return seen{}, errors.New("not UTF-8, too deep or too large")
	}
	top, err := object(event)
	if err != nil {
		return seen{}, err
	}
	var version, stage string
	var encoded bool
	var s seen
	context, err := object(top["requestContext"])
	http, err2 := object(context["http"])
	headers, err3 := object(top["headers"])
	err = errors.Join(err, err2, err3, read(headers, "x-forwarded-for", &s.Forwarded),
		read(top, "version", &version), read(top, "rawPath", &s.Path), read(top, "rawQueryString", &s.Query), read(top, "body", &s.Body),
		read(top, "isBase64Encoded", &encoded), read(context, "requestId", &s.RequestID), read(context, "stage", &stage),
		read(http, "method", &s.Method), read(http, "sourceIp", &s.SourceIP))
	if err != nil {
		return seen{}, err
	}
	if version != "2.0" || s.Method == "" || !strings.HasPrefix(s.Path, "/") {
		return seen{}, errors.New("another kind of event")
	}
	if stage != "" && stage != "$default" && strings.HasPrefix(s.Path, "/"+stage+"/") {
		s.Path = s.Path[1+len(stage):]
	}
	if encoded {
		body, err := base64.StdEncoding.DecodeString(s.Body)
		if err != nil {
			return seen{}, err
		}
		s.Body = string(body)
	}
	return s, nil
}

// object decodes an object whose names count exactly, and of which the last of a name counts.
func object(text []byte) (map[string]json.RawMessage, error) {
	if text == nil {
		return nil, nil
	}
	var members map[string]json.RawMessage
	err := json.Unmarshal(text, &members)
	return members, err
}

func read(members map[string]json.RawMessage, name string, into any) error {
	if text, ok := members[name]; ok {
		return json.Unmarshal(text, into)
	}
	return nil
}

// depth returns how deeply arrays and objects nest in JSON text; anything for other text.
func depth(text []byte) (deepest int) {
	tokens, deep := json.NewDecoder(bytes.NewReader(text)), 0
	tokens.UseNumber()
	for {
		token, err := tokens.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			deep++
			deepest = max(deepest, deep)
		case json.Delim('}'), json.Delim(']'):
			deep--
		}
	}
}
