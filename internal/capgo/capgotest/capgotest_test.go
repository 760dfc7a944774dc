package capgotest_test

import (
	"encoding/json"
	"testing"

	"github.com/palier-ota/palier/internal/capgo/capgotest"
)

// TestCheckFindsDifferences shows each kind of difference to Check: a checker that cannot fail proves nothing.
func TestCheckFindsDifferences(t *testing.T) {
	for _, c := range []struct {
		expect, body string
		status       int
		ok           bool
	}{
		{`{"status":200}`, `{}`, 200, true},
		{`{"status":200}`, `{}`, 400, false},
		{`{"status":200}`, ``, 200, false},
		{`{"status":200,"body_contains":{"a":{"b":1}}}`, `{"a":{"b":1,"c":2},"d":3}`, 200, true},
		{`{"status":200,"body_contains":{"a":{"b":1}}}`, `{"a":{"b":2}}`, 200, false},
		{`{"status":200,"body_contains":{"a":{"b":1}}}`, `{"a":[]}`, 200, false},
		{`{"status":200,"body_contains":{"a":null}}`, `{"a":null}`, 200, true},
		{`{"status":200,"body_contains":{"a":null}}`, `{}`, 200, false},
		{`{"status":200,"body_contains":[{"n":1}]}`, `[{"n":1},{"n":2}]`, 200, true},
		{`{"status":200,"body_contains":[{"n":2}]}`, `[{"n":1},{"n":2}]`, 200, false},
		{`{"status":200,"body_contains":{"a":[]}}`, `{"a":[]}`, 200, true},
		{`{"status":200,"body_contains":{"a":[]}}`, `{"a":[1]}`, 200, false},
		{`{"status":200,"body_length":1}`, `[1]`, 200, true},
		{`{"status":200,"body_length":1}`, `[1,2]`, 200, false},
		{`{"status":200,"body_length":0}`, `{}`, 200, false},
		{`{"status":200,"body_absent":["a"]}`, `{"b":1}`, 200, true},
		{`{"status":200,"body_absent":["a"]}`, `{"a":null}`, 200, false},
	} {
		var k capgotest.Case
		if err := json.Unmarshal([]byte(`{"expect":`+c.expect+`}`), &k); err != nil {
			t.Fatal(err)
		}
		if err := k.Check(c.status, []byte(c.body)); (err == nil) != c.ok {
			t.Errorf("%s against %d %s: %v", c.expect, c.status, c.body, err)
		}
	}
}

func TestLoadRefusesWhatIsNoCaseFile(t *testing.T) {
	for _, file := range []string{"absent.jsonl", "capgotest.go"} {
		if cases, err := capgotest.Load(file); err == nil {
			t.Errorf("%s: %d cases", file, len(cases))
		}
	}
}
