package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// maxDepth is how deeply a body may nest. The deepest thing an operator can say, a rule inside a segment or a hold inside
// a phase of a plan, needs six.
const maxDepth = 32

// parse reads a request body, JSON unless the content type says YAML, into a tree of map[string]any, []any, string, bool,
// json.Number and nil. It refuses what the usual decoders let pass in silence: a key given twice, text after the value,
// and nesting that only an attack would have.
func parse(contentType string, body []byte) (any, error) {
	if !utf8.Valid(body) {
		return nil, malformed(errors.New("not UTF-8 text"))
	}
	media := "application/json"
	if contentType != "" {
		var err error
		if media, _, err = mime.ParseMediaType(contentType); err != nil {
			media = contentType
		}
	}
	var tree any
	var err error
	switch media {
	case "application/json", "text/json":
		tree, err = parseJSON(body)
	case "application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml":
		tree, err = parseYAML(body)
	default:
		return nil, refuse(http.StatusUnsupportedMediaType, CodeUnsupportedMedia,
			"the body's content type is %q: send application/json or application/yaml", clip(media))
	}
	if err != nil {
		return nil, malformed(err)
	}
	return tree, nil
}

func malformed(err error) *Error {
	return refuse(http.StatusBadRequest, CodeMalformed, "the body cannot be read: %s", err.Error())
}

// parseObject is parse for bodies that must be objects.
func parseObject(contentType string, body []byte) (map[string]any, error) {
	tree, err := parse(contentType, body)
	if err != nil {
		return nil, err
	}
	object, ok := tree.(map[string]any)
	if !ok {
		return nil, malformed(fmt.Errorf("want an object, not %s", kindOf(tree)))
	}
	return object, nil
}

func parseJSON(body []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	tree, err := jsonValue(dec, 0)
	if err != nil {
		return nil, jsonError(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("JSON: something follows the value")
	}
	return tree, nil
}

func jsonError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("JSON: it ends too early")
	}
	return fmt.Errorf("JSON: %w", err)
}

func jsonValue(dec *json.Decoder, depth int) (any, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := tok.(json.Delim)
	if !ok {
		return tok, nil
	}
	if depth++; depth > maxDepth {
		return nil, errTooDeep
	}
	if delim == '[' {
		return jsonArray(dec, depth)
	}
	return jsonObject(dec, depth)
}

var errTooDeep = fmt.Errorf("nested more than %d levels deep", maxDepth)

func jsonArray(dec *json.Decoder, depth int) (any, error) {
	list := []any{}
	for dec.More() {
		v, err := jsonValue(dec, depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := dec.Token()
	return list, err
}

func jsonObject(dec *json.Decoder, depth int) (any, error) {
	object := map[string]any{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key := tok.(string) // the decoder lets nothing else stand here
		if _, twice := object[key]; twice {
			return nil, fmt.Errorf("the key %q is given twice in one object", clip(key))
		}
		if object[key], err = jsonValue(dec, depth); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return object, err
}

func parseYAML(body []byte) (any, error) {
	if err := checkYAML(string(body)); err != nil {
		return nil, fmt.Errorf("YAML: %w", err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(body))
	var tree, more any
	if err := dec.Decode(&tree); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("YAML: %s", yaml.FormatError(err, false, false))
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("YAML: more than one document; apply them one by one")
	}
	tree, err := plain(tree, 0)
	if err != nil {
		return nil, fmt.Errorf("YAML: %w", err)
	}
	return tree, nil
}

// checkYAML refuses, before the recursive parser sees it, text whose nesting costs little to write and much to parse, and
// aliases, with which a page of text can stand for gigabytes.
func checkYAML(text string) error {
	flow, inline, line := 0, 0, 0
	for _, t := range lexer.Tokenize(text) {
		if t.Position != nil && t.Position.Line != line {
			line, inline = t.Position.Line, 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType:
			inline++
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			return fmt.Errorf("line %d: anchors, aliases and merge keys are not taken: write the value out", line)
		}
		if flow > maxDepth || inline > maxDepth {
			return errTooDeep
		}
	}
	return nil
}

// plain turns what the YAML decoder made into the tree that JSON would have made.
func plain(v any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errTooDeep
	}
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			p, err := plain(value, depth+1)
			if err != nil {
				return nil, err
			}
			v[key] = p
		}
		return v, nil
	case []any:
		for i, value := range v {
			p, err := plain(value, depth+1)
			if err != nil {
				return nil, err
			}
			v[i] = p
		}
		return v, nil
	case uint64:
		return json.Number(strconv.FormatUint(v, 10)), nil
	case int64:
		return json.Number(strconv.FormatInt(v, 10)), nil
	case int:
		return json.Number(strconv.Itoa(v)), nil
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return nil, errors.New("infinite and undefined numbers are not taken")
		}
		return json.Number(strconv.FormatFloat(v, 'f', -1, 64)), nil
	case nil, string, bool:
		return v, nil
	}
	return nil, fmt.Errorf("a value of type %T is not taken", v)
}

// kindOf names what a tree holds the way its author would.
func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "text"
	case bool:
		return "true or false"
	case json.Number:
		return "a number"
	case []any:
		return "a list"
	}
	return "an object"
}
