package capgo_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/resolve"
)

// drawText writes a JSON string that means text, spelled in one of the many ways JSON has.
func drawText(t *rapid.T, text string) string {
	var out strings.Builder
	out.WriteByte('"')
	for _, r := range text {
		switch {
		case r < 0x10000 && rapid.IntRange(0, 19).Draw(t, "escape") == 0:
			fmt.Fprintf(&out, `\u%04x`, r)
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r < ' ':
			fmt.Fprintf(&out, `\u%04X`, r)
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
	return out.String()
}

var odd = []string{
	`null`, `true`, `false`, `0`, `-1.5e3`, `01`, `1.`, `tru`, `""`, `"x"`, `[]`, `{}`, `[1,{"a":"]"}]`, `{"platform":"ios"}`,
	`"\ud800"`, `"\ud83d\ude00"`, `"\u12g4"`, `"\x"`, "\"\t\"", "\"\xc3\"", `"é"`, `"builtin"`, `"unknown"`, `"1"`, `"1.2"`, `"01.2.3"`,
	`"1.2.3-rc.1+b"`, `"1.2.3.4"`, `"v1.2"`, `" 1.2.3 "`, `"vv1"`, `"android"`, `"ANDROID"`, `"` + strings.Repeat("k", 20) + `"`, `"` + strings.Repeat("é", 21) + `"`,
	`"` + strings.Repeat("x", 65) + `"`, `"C3A1F1DE-8F2E-4C64-B8D0-6A51D0C5B7A2"`, `"a.b"`, `"a._-"`, `".a.b"`, `"a..b"`, `"a_b.c"`,
}

// TestCheckAgreesWithItsPlainTwin draws bodies that are mostly right: known keys in any order, some missing, doubled or
// unknown, some values odd, white space anywhere.
func TestCheckAgreesWithItsPlainTwin(t *testing.T) {
	var base map[string]any
	if err := json.Unmarshal(benchBody, &base); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, key := range []string{
		"platform", "device_id", "app_id", "custom_id", "version_build", "version_code", "version_os", "version_name",
		"plugin_version", "is_emulator", "is_prod", "install_source", "defaultChannel", "key_id",
	} {
		if base[key] == nil {
			t.Fatalf("the sample body has no %s", key)
		}
		keys = append(keys, key)
	}
	var r capgo.Request // keeps what it learns from one body to the next
	accepted, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		body := drawBody(t, base, keys)
		want, code := plainCheck(body)
		refusal := r.ParseCheck(body)
		if (refusal == nil) != (code == "") || refusal != nil && refusal.Code != code {
			t.Fatalf("%s\nrefusal %+v, the plain twin says %q", body, refusal, code)
		}
		if refusal != nil {
			refused++
			return
		}
		accepted++
		if r.Check != want {
			t.Fatalf("%s\ngot  %+v\nwant %+v", body, r.Check, want)
		}
	})
	if accepted < 10 || refused < 10 {
		t.Errorf("%d bodies accepted and %d refused: one side was hardly tried", accepted, refused)
	}
}

func drawBody(t *rapid.T, base map[string]any, keys []string) []byte {
	space := func() string {
		return rapid.SampledFrom([]string{"", "", "", "", "", "", " ", "\n\t", "\r"}).Draw(t, "space")
	}
	order := rapid.Permutation(keys).Draw(t, "order")
	trouble := rapid.IntRange(0, 2).Draw(t, "trouble") // how many members are spoiled
	var members []string
	for _, key := range order {
		value, _ := json.Marshal(base[key])
		if text, ok := base[key].(string); ok {
			value = []byte(drawText(t, text))
		}
		members = append(members, space()+drawText(t, key)+space()+":"+space()+string(value)+space())
	}
	for range trouble {
		at := rapid.IntRange(0, len(members)-1).Draw(t, "at")
		key := rapid.SampledFrom(append(keys, "locale", "", "plаtform", "is_prod ")).Draw(t, "key")
		member := drawText(t, key) + ":" + rapid.SampledFrom(odd).Draw(t, "value")
		switch rapid.IntRange(0, 2).Draw(t, "how") {
		case 0:
			members[at] = member
		case 1:
			members = append(members[:at], append([]string{member}, members[at:]...)...)
		default:
			members = append(members[:at], members[at+1:]...)
		}
	}
	return []byte(space() + "{" + strings.Join(members, ",") + "}" + space())
}

// TestEveryByteInEveryPlaceAgrees puts each of the 256 bytes into each place of a short and of a long value, so that the
// eight-bytes-at-once scanner meets every byte at every offset and beside every boundary.
func TestEveryByteInEveryPlaceAgrees(t *testing.T) {
	var r capgo.Request
	for _, field := range []string{"custom_id", "device_id", "app_id", "version_name", "key_id"} {
		start := strings.Index(string(benchBody), `"`+field+`":"`) + len(field) + 4
		end := start + strings.Index(string(benchBody[start:]), `"`)
		for at := start - 1; at <= end; at++ {
			for c := range 256 {
				body := []byte(string(benchBody))
				body[at] = byte(c)
				want, code := plainCheck(body)
				refusal := r.ParseCheck(body)
				if (refusal == nil) != (code == "") || refusal != nil && refusal.Code != code {
					t.Fatalf("%q\nrefusal %+v, the plain twin says %q", body, refusal, code)
				}
				if refusal == nil && r.Check != want {
					t.Fatalf("%q\ngot  %+v\nwant %+v", body, r.Check, want)
				}
			}
		}
	}
}

func TestEveryTruncationIsRefusedAsNoJSON(t *testing.T) {
	var r capgo.Request
	for _, body := range [][]byte{benchBody, shuffledBody} {
		for n := range body {
			if refusal := r.ParseCheck(body[:n:n]); refusal == nil || refusal.Code != capgo.CodeParse {
				t.Fatalf("%q: %+v", body[:n], refusal)
			}
		}
	}
}

func TestRefusalOrder(t *testing.T) {
	const device, app = `"device_id":"c3a1f1de-8f2e-4c64-b8d0-6a51d0c5b7a2"`, `"app_id":"com.example.shop"`
	for body, want := range map[string]string{
		`{`:                                 capgo.CodeParse,
		`[]`:                                capgo.CodeBody,
		`null`:                              capgo.CodeBody,
		`{}`:                                capgo.CodeBody,
		`{"x":1}`:                           capgo.CodeNoDeviceID,
		`{"device_id":null,` + app + `}`:    capgo.CodeNoDeviceID,
		`{"device_id":"",` + app + `}`:      capgo.CodeNoDeviceID,
		`{"device_id":42,` + app + `}`:      capgo.CodeBody,
		`{"device_id":42}`:                  capgo.CodeNoAppID,
		`{` + device + `}`:                  capgo.CodeNoAppID,
		`{` + device + `,"app_id":""}`:      capgo.CodeNoAppID,
		`{` + device + `,"app_id":["a.b"]}`: capgo.CodeBody,
		`{"device_id":1,` + app + `,"version_build":"x"}`:       capgo.CodeSemver,
		`{` + device + `,` + app + `,"version_build":""}`:       capgo.CodeBody,
		`{` + device + `,` + app + `,"version_build":"v"}`:      capgo.CodeSemver,
		`{` + device + `,` + app + `,"version_build":1}`:        capgo.CodeBody,
		`{` + device + `,` + app + `,"version_build":"1.2.3"}`:  capgo.CodeBody,
		`{` + device + `,` + app + `,"version_build":"1.2.3"}}`: capgo.CodeParse,
	} {
		var r capgo.Request
		refusal := r.ParseCheck([]byte(body))
		if refusal == nil || refusal.Code != want || refusal.Status != capgo.StatusBadRequest {
			t.Errorf("%s: %+v, want %s", body, refusal, want)
		}
	}
}

// TestRecordedPayloads parses what real plugins send.
func TestRecordedPayloads(t *testing.T) {
	payloads := loadPayloads(t)
	if len(payloads) < 10 {
		t.Fatalf("only %d payloads: the file is not whole", len(payloads))
	}
	for _, p := range payloads {
		app, refusal := parsePayload(t, p)
		if refusal != nil || app != "com.example.shop" {
			t.Errorf("%s: app %q, refusal %+v", p.Name, app, refusal)
		}
	}
}

// parsePayload parses p with the function for its path and method, and returns the app it is of.
func parsePayload(t *testing.T, p payload) (app string, refusal *capgo.Refusal) {
	t.Helper()
	var r capgo.Request
	switch {
	case p.Path == "<updateUrl>":
		refusal = r.ParseCheck(p.compact(t))
	case p.Path == "<updateUrl>/manifest_size":
		_, refusal = r.ParseManifestSize(p.compact(t))
	case p.Path == "<statsUrl>":
		batch, refusal := capgo.ParseStats(p.compact(t))
		if refusal != nil {
			return "", refusal
		}
		return batch.AppID, nil
	case p.Method == "GET":
		refusal = r.ParseList(query(p.Query))
	case p.Method == "DELETE":
		refusal = r.ParseUnset("", p.compact(t))
	default:
		refusal = r.ParseChannel(p.compact(t))
	}
	return r.Check.AppID, refusal
}

// TestParsingAndAnsweringDoNotAllocate covers two key orders and values that need scratch memory.
func TestParsingAndAnsweringDoNotAllocate(t *testing.T) {
	p := newPlayer(t, benchState())
	upper := []byte(strings.Replace(string(shuffledBody), "c3a1f1de", "C3A1F1DE", 1))
	short := []byte(strings.Replace(string(benchBody), `"4.0.0"`, `"4"`, 1))
	escaped := []byte(strings.Replace(string(benchBody), `"customer`, `"\u0063ustomer`, 1))
	dst := make([]byte, 0, 1024)
	n := testing.AllocsPerRun(200, func() {
		for _, body := range [][]byte{benchBody, shuffledBody, upper, short, escaped} {
			if refusal := p.request.ParseCheck(body); refusal != nil {
				t.Fatal(refusal.Message)
			}
			d := p.snapshot.Resolve(&p.request.Check, &resolve.Facts{})
			dst = p.answers.Append(dst[:0], &p.request.Check, d)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestAReusedRequestForgets parses bodies in random succession out of one buffer, as a host does: nothing of one may be
// seen in the next, not even through what a Request remembers on purpose.
func TestAReusedRequestForgets(t *testing.T) {
	bodies := [][]byte{benchBody, shuffledBody}
	prerelease := strings.NewReplacer("8.51.23", "8.51.23-rc.1", `"4.0.0"`, `"4.0.0-beta.2"`) // they are views of the body
	for range 20 {
		bodies = append(bodies, []byte(prerelease.Replace(string(benchBody))), []byte(prerelease.Replace(string(shuffledBody))))
	}
	for _, c := range loadCases(t) {
		if c.Endpoint == "updates" && c.Body() != nil {
			bodies = append(bodies, c.Body())
		}
	}
	var r capgo.Request
	random := rand.New(rand.NewPCG(1, 2))
	buffer := make([]byte, 4096)
	for range 2000 {
		clear(buffer)
		body := append(buffer[:0], bodies[random.IntN(len(bodies))]...)
		want, code := plainCheck(body)
		if refusal := r.ParseCheck(body); (refusal == nil) != (code == "") || refusal == nil && r.Check != want {
			t.Fatalf("%s\ngot  %+v %+v\nwant %+v %s", body, r.Check, refusal, want, code)
		}
	}
}
