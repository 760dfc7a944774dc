package jsontext

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// texts are strings as they may stand between quotes, well formed or not.
var texts = []string{
	"", "a", "plain ASCII, longer than a word of eight bytes", `\"\\\/\b\f\n\r\t`, `\u0041\u00e9\u20ac`, `\ud83d\ude00`, `\ud83d`, `\ude00\ud83d`,
	`\ud83d\u0041`, "é€😀", "1234567\xff", `\x`, `\u12g4`, `\u12`, `\`, "a\nb", "a\x00", `abcdefg\`, "\xed\xa0\x80",
}

// check holds what jsontext makes of a string's text against encoding/json, which takes text that is not UTF-8 as well.
func check(t *testing.T, text []byte) {
	t.Helper()
	quoted := append(append([]byte{'"'}, text...), '"')
	var want string
	valid := json.Unmarshal(quoted, &want) == nil && utf8.Valid(text)
	end, verbatim := Closing(quoted, 1)
	switch {
	case valid != (end == len(quoted)-1):
		t.Fatalf("%q: ends at %d, valid %v", text, end, valid)
	case !valid:
		return
	case verbatim && string(text) != want:
		t.Fatalf("%q does not stand for itself but for %q", text, want)
	}
	if got := Unescape([]byte("before "), text); string(got) != "before "+want {
		t.Fatalf("%q means %q, want %q", text, got, want)
	}
	if at := Skip(quoted, 0, 0); at != len(quoted) {
		t.Fatalf("%q skipped to %d", quoted, at)
	}
}

func TestStrings(t *testing.T) {
	for _, text := range texts {
		check(t, []byte(text))
	}
}

func FuzzStrings(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if bytes.IndexByte(text, '"') < 0 || bytes.Contains(text, []byte(`\"`)) && bytes.Count(text, []byte(`"`)) == bytes.Count(text, []byte(`\"`)) {
			check(t, text)
		}
		appended(t, text)
	})
}

// appended holds AppendString against encoding/json, from both kinds of argument.
func appended(t *testing.T, text []byte) {
	t.Helper()
	fromBytes, fromString := AppendString(nil, text), AppendString(nil, string(text))
	var got string
	if err := json.Unmarshal(fromBytes, &got); err != nil || got != string(bytes.ToValidUTF8(text, []byte("\uFFFD"))) && utf8.Valid(text) {
		t.Fatalf("%q was appended as %s: %v", text, fromBytes, err)
	}
	if !bytes.Equal(fromBytes, fromString) {
		t.Fatalf("%s from bytes, %s from a string", fromBytes, fromString)
	}
}

func TestAppendString(t *testing.T) {
	for _, text := range texts {
		appended(t, []byte(text))
	}
	for c := range 256 {
		appended(t, []byte{'a', byte(c), 'b'})
	}
}

// TestSkip steps over values, and over nothing that is none.
func TestSkip(t *testing.T) {
	deep := func(n int) string {
		return string(bytes.Repeat([]byte("["), n)) + string(bytes.Repeat([]byte("]"), n))
	}
	for _, text := range []string{
		`null`, `true`, `false`, `0`, `-1.5e+10`, `"a"`, `[]`, `[ 1 , [2] ]`, `{}`, `{ "a" : {"b":[]} , "c":1}`, deep(MaxDepth),
		`nul`, `01`, `-`, `1.`, `1e`, `[1,]`, `[`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, ``, deep(MaxDepth + 1),
	} {
		want := json.Valid([]byte(text)) && text != deep(MaxDepth+1)
		if at := Skip([]byte(text), 0, 0); (at == len(text)) != want {
			t.Errorf("%.40s: skipped to %d, valid %v", text, at, want)
		}
	}
}
