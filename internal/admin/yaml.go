package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
)

// marshalYAML writes the JSON form of v as YAML, with the same fields in the same order, so that applying either form
// means the same. The YAML library's own way from JSON would read numbers as floats and write small ones as 1e-07, which
// it then takes for text.
func marshalYAML(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	tree, err := ordered(dec)
	if err != nil {
		return err
	}
	out, err := yaml.Marshal(tree)
	if err != nil {
		return fmt.Errorf("writing YAML: %w", err)
	}
	_, err = w.Write(out)
	return err
}

// ordered reads one JSON value, keeping the order of keys.
func ordered(dec *json.Decoder) (any, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch tok {
	case json.Delim('['):
		return orderedList(dec)
	case json.Delim('{'):
		return orderedMap(dec)
	}
	if n, ok := tok.(json.Number); ok {
		return decimal(n), nil
	}
	return tok, nil
}

func orderedList(dec *json.Decoder) (any, error) {
	list := []any{}
	for dec.More() {
		v, err := ordered(dec)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := dec.Token()
	return list, err
}

func orderedMap(dec *json.Decoder) (any, error) {
	entries := yaml.MapSlice{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		v, err := ordered(dec)
		if err != nil {
			return nil, err
		}
		entries = append(entries, yaml.MapItem{Key: key, Value: v})
	}
	_, err := dec.Token()
	return entries, err
}

// decimal is a number that YAML shows without an exponent.
type decimal json.Number

// MarshalYAML writes the digits.
func (d decimal) MarshalYAML() ([]byte, error) {
	text := string(d)
	if !strings.ContainsAny(text, "eE") {
		return []byte(text), nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, err
	}
	return strconv.AppendFloat(nil, f, 'f', -1, 64), nil
}
