package capgo_test

import (
	"bytes"
	"encoding/json"
	"net/url"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/capgo/capgotest"
)

const payloadsFile = "../../testdata/protocol/payloads.json"

// payload is one request as a real plugin sends it.
type payload struct {
	Name   string            `json:"name"`
	Method string            `json:"method"`
	Path   string            `json:"path"`
	Body   json.RawMessage   `json:"body"`
	Query  map[string]string `json:"query"`
}

func (p payload) compact(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := json.Compact(&out, p.Body); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func loadPayloads(t testing.TB) []payload {
	t.Helper()
	data, err := os.ReadFile(payloadsFile)
	if err != nil {
		t.Fatal(err)
	}
	var list []payload
	if err := json.Unmarshal(data, &list); err != nil || len(list) == 0 {
		t.Fatalf("%s: %d payloads, %v", payloadsFile, len(list), err)
	}
	return list
}

// seed adds every recorded body to a fuzzer, compact and indented.
func seed(f *testing.F) {
	for _, c := range loadCases(f) {
		if body := c.Body(); body != nil {
			f.Add([]byte(body))
		}
	}
	for _, p := range loadPayloads(f) {
		if p.Body != nil {
			f.Add(p.compact(f))
			f.Add([]byte(p.Body))
		}
	}
	for _, body := range hostile() {
		f.Add([]byte(body))
	}
}

// hostile returns bodies that go wrong in naive decoders.
func hostile() []string {
	base := string(benchBody)
	return []string{
		"", " ", "null", "1", `"x"`, "[]", "{}", "{} x", "{,}", `{"a"}`, `{"a":}`, `{"a":1,}`, "\ufeff{}",
		strings.Repeat("[", 100_000), `{"a":` + strings.Repeat(`{"a":`, 64) + "1" + strings.Repeat("}", 65),
		`{"a":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + "}", `{"a":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + "}",
		strings.Replace(base, `"android"`, `"\u0061ndroid"`, 1),
		strings.Replace(base, `"platform"`, `"\u0070latform"`, 1),
		strings.Replace(base, `"customer`, `"\ud83d\ude00\ud83d\u0041\udc00 é 😀`, 1),
		strings.Replace(base, `"customer`, "\"\xff\xfe", 1),
		strings.Replace(base, `"customer`, "\"\x01", 1),
		strings.Replace(base, `"customer`, "\"\x7f", 1),
		strings.Replace(base, `"400"`, `400`, 1),
		strings.Replace(base, `"400"`, `-0.5e+10`, 1),
		strings.Replace(base, `true`, `"true"`, 1),
		strings.Replace(base, `"15"`, `null`, 1),
		strings.Replace(base, `"4.0.0"`, `"1e3"`, 1),
		strings.Replace(base, `"4.0.0"`, `"builtin"`, 1),
		strings.Replace(base, `"platform":"android"`, `"platform":1,"platform":"android","x":{"y":[1,"}",{}]}`, 1),
		strings.Replace(base, `"platform":"android"`, `"platform":"android","platform":false`, 1),
		strings.Replace(base, `"c3a1`, `"C3A1`, 1), strings.Replace(base, `"c3a1`, `"g3a1`, 1), strings.Replace(base, `"c3a1`, `"-3a1`, 1),
	}
}

// newFuzzPlayer answers for an app with a bundle, a manifest, metadata and channels of every kind.
func newFuzzPlayer(t testing.TB) *player {
	t.Helper()
	for _, c := range loadCases(t) {
		if c.Name == "update_manifest_v7_0_35" {
			state, err := c.State()
			if err != nil {
				t.Fatal(err)
			}
			return newPlayer(t, state)
		}
	}
	t.Fatal("the case with a manifest is gone")
	return nil
}

// sane fails unless an answer has a status of the protocol and is JSON, and unless it either offers or says why not.
func sane(t *testing.T, status int, body []byte) {
	t.Helper()
	if status != capgo.StatusOK && status != capgo.StatusBadRequest && status != capgo.StatusTooManyRequests {
		t.Errorf("status %d", status)
	}
	if !json.Valid(body) || !utf8.Valid(body) {
		t.Errorf("the answer is not JSON: %q", body)
	}
}

func saneUpdate(t *testing.T, status int, body []byte) {
	t.Helper()
	sane(t, status, body)
	var members map[string]any
	if err := json.Unmarshal(body, &members); err != nil {
		t.Fatal(err)
	}
	_, version := members["version"].(string)
	_, code := members["error"].(string)
	_, message := members["message"].(string)
	_, kind := members["kind"].(string)
	switch {
	case code && message && (kind || status == capgo.StatusBadRequest):
	case version && members["error"] == nil && members["message"] == nil && members["kind"] == nil:
	default:
		t.Errorf("neither an offer nor a refusal: %s", body)
	}
}

// FuzzCheck holds ParseCheck against its plain twin, with a Request that has learned another key order and one that has
// not, and looks at the answer.
func FuzzCheck(f *testing.F) {
	seed(f)
	p := newFuzzPlayer(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		want, code := plainCheck(body)
		var fresh, taught capgo.Request
		taught.ParseCheck(benchBody)
		for name, r := range map[string]*capgo.Request{"fresh": &fresh, "taught": &taught} {
			refusal := r.ParseCheck(body)
			if (refusal == nil) != (code == "") || refusal != nil && refusal.Code != code {
				t.Fatalf("%s: refusal %+v, the plain twin says %q", name, refusal, code)
			}
			if refusal == nil && r.Check != want {
				t.Fatalf("%s: got  %+v\nwant %+v", name, r.Check, want)
			}
		}
		status, answer := p.updates(body)
		saneUpdate(t, status, answer)
	})
}

// FuzzStats looks for batches that are answered wrong in kind, and for items that do not match the body.
func FuzzStats(f *testing.F) {
	seed(f)
	p := newFuzzPlayer(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		status, answer := p.stats(body)
		sane(t, status, answer)
		batch, refusal := capgo.ParseStats(body)
		wellFormed := utf8.Valid(body) && json.Valid(body) && depth(body) <= 64
		if refusal != nil && (refusal.Code == capgo.CodeParse) == wellFormed {
			t.Fatalf("refusal %+v of a body that is JSON: %v", refusal, wellFormed)
		}
		if refusal != nil {
			return
		}
		var list []json.RawMessage
		if err := json.Unmarshal(body, &list); err == nil != !batch.Single || err == nil && len(list) != len(batch.Items) {
			t.Fatalf("%d items, single %v", len(batch.Items), batch.Single)
		}
		for _, it := range batch.Items {
			if it.Use() && (it.Event.Action == "" || it.Event.Check.AppID != batch.AppID || it.Event.Check.DeviceID == "") {
				t.Errorf("taken event %+v", it.Event)
			}
		}
	})
}

// FuzzChannelBody looks at every call of /channel_self that has a body.
func FuzzChannelBody(f *testing.F) {
	seed(f)
	p := newFuzzPlayer(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, method := range []string{"POST", "PUT", "DELETE"} {
			status, answer := p.channel(method, "", body)
			sane(t, status, answer)
		}
	})
}

// FuzzChannelQuery looks at every call of /channel_self that has a query, and holds its reading against net/url.
func FuzzChannelQuery(f *testing.F) {
	for _, c := range loadCases(f) {
		if c.Request.Params != nil {
			f.Add(c.Query())
		}
	}
	for _, p := range loadPayloads(f) {
		if p.Query != nil {
			f.Add(query(p.Query))
		}
	}
	f.Add("app_id=com.example.shop&platform=ios")
	f.Add("app_id=com.example.shop&platform=ios&is_emulator=false&is_prod=maybe")
	f.Add("app_id=%63om%2Eexample.a%5fb&platform=ios&custom_id=a+b%20c&custom_id=d&x=%zz&&=&%")
	p := newFuzzPlayer(f)
	f.Fuzz(func(t *testing.T, query string) {
		for _, method := range []string{"GET", "DELETE"} {
			status, answer := p.channel(method, query, nil)
			sane(t, status, answer)
		}
		var r capgo.Request
		values, err := url.ParseQuery(query)
		if r.ParseList(query) != nil || err != nil {
			return
		}
		if r.Check.AppID != values.Get("app_id") || r.Check.CustomID != values.Get("custom_id") || r.Check.Platform.String() != values.Get("platform") {
			t.Errorf("got %+v from %v", r.Check, values)
		}
	})
}

// FuzzManifestSize looks at the sizes' sum, which must hold whatever the entries.
func FuzzManifestSize(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		var r capgo.Request
		files, refusal := r.ParseManifestSize(body)
		if refusal != nil {
			sane(t, refusal.Status, refusal.Append(nil))
			return
		}
		answer := capgo.AppendManifestSizes(nil, files, func(hash, _ string) (int64, bool) { return int64(len(hash)), len(hash)%2 == 0 })
		sane(t, capgo.StatusOK, answer)
		var sizes struct{ TotalSize, KnownFiles, UnknownFiles int }
		if err := json.Unmarshal(answer, &sizes); err != nil || sizes.KnownFiles+sizes.UnknownFiles != len(files) {
			t.Errorf("%d files, answer %s, %v", len(files), answer, err)
		}
	})
}

// query encodes parameters as a raw query string.
func query(params map[string]string) string {
	return capgotest.Case{Request: capgotest.Request{Params: params}}.Query()
}
