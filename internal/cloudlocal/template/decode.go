package template

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// decode fills out, whose fields are named like the template's properties, from v. A property that out does not have is
// an error: what is not read here is not carried out locally, and must not be overlooked.
func decode(v value, out any) error {
	if v == nil {
		return nil
	}
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	return d.Decode(out)
}

// scalar is text that may be written as a number or a truth value.
type scalar string

// UnmarshalJSON accepts any scalar.
func (s *scalar) UnmarshalJSON(body []byte) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return err
	}
	switch v.(type) {
	case []any, map[string]any:
		return fmt.Errorf("%s is no text", body)
	}
	*s = scalar(text(v))
	return nil
}

// flag is a truth value that may be written as text.
type flag bool

// UnmarshalJSON accepts true, false, and both as text.
func (f *flag) UnmarshalJSON(body []byte) error {
	var s scalar
	if err := s.UnmarshalJSON(body); err != nil {
		return err
	}
	b, err := strconv.ParseBool(string(s))
	*f = flag(b)
	return err
}

// whole is a whole number that may be written as text.
type whole int

// UnmarshalJSON accepts a number and a number as text.
func (n *whole) UnmarshalJSON(body []byte) error {
	var s scalar
	if err := s.UnmarshalJSON(body); err != nil {
		return err
	}
	i, err := strconv.Atoi(string(s))
	*n = whole(i)
	return err
}

// oneOrMore is a list that may be written as its only item.
type oneOrMore []string

// UnmarshalJSON accepts a text and a list of texts.
func (l *oneOrMore) UnmarshalJSON(body []byte) error {
	if bytes.HasPrefix(body, []byte("[")) {
		return json.Unmarshal(body, (*[]string)(l))
	}
	var s scalar
	err := s.UnmarshalJSON(body)
	*l = oneOrMore{string(s)}
	return err
}
