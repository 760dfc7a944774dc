package resolve

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/jsontext"
	"github.com/palier-ota/palier/internal/rollout"
)

// parsed holds what ParseSpec makes of text against json.Unmarshal.
func parsed(t *testing.T, text []byte) {
	t.Helper()
	var want Spec
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if got, err := ParseSpec(text); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%s\nis read as %+v, %v\nwant %+v", text, got, err, want)
	}
}

func TestParseSpecReadsWhatIsMarshalled(t *testing.T) {
	x := splitMix(23)
	for i := range 600 {
		spec := NewSpec(randomState(&x))
		if i%2 == 0 {
			spec = Spec{}
			scatter(&x, reflect.ValueOf(&spec).Elem(), i%4 == 0)
		}
		text, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		parsed(t, text)
		var spaced bytes.Buffer
		if err := json.Indent(&spaced, text, " ", "\t"); err != nil {
			t.Fatal(err)
		}
		parsed(t, spaced.Bytes())
	}
}

// scatter puts anything that JSON carries into v; if full, into every field.
func scatter(x *splitMix, v reflect.Value, full bool) {
	if !full && x.chance(20) {
		return
	}
	switch v.Interface().(type) {
	case rollout.Percent:
		v.SetInt(pick(x, 1, 10, 99_999_999, 123_456_789, int64(x.below(1e9)), int64(rollout.Everyone)))
		return
	case []byte:
		v.SetBytes(bytes.Repeat([]byte{byte(x.next()), 0xfb, 0xef}, 3)[:1+x.below(8)])
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			scatter(x, v.Field(i), full)
		}
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(x.next() & 0xff)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1+x.below(3), 3))
		for i := range v.Len() {
			scatter(x, v.Index(i), full)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		scatter(x, v.Elem(), full)
	case reflect.Bool:
		v.SetBool(full || x.chance(50))
	case reflect.Int:
		v.SetInt(pick[int64](x, 1, 9, 10, math.MaxInt32))
	case reflect.Int64:
		v.SetInt(pick(x, 1, 10, math.MaxInt64, math.MaxInt64-1, int64(x.next()>>1)))
	case reflect.String:
		v.SetString(pick(x, "a", "1.0.0", `<"q\u">&`, "\n\x00\u2028", "Größe 😀", "\ufffd", strings.Repeat("long ", 30)))
	}
}

func TestParseSpecReadsTheGoldenOnes(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(goldenDir, "snapshots.json"))
	if err != nil {
		t.Fatal(err)
	}
	var apps []struct{ Spec json.RawMessage }
	if err := json.Unmarshal(text, &apps); err != nil || len(apps) == 0 {
		t.Fatalf("%d apps: %v", len(apps), err)
	}
	for _, app := range apps {
		parsed(t, app.Spec)
	}
}

func TestParseSpecTolerates(t *testing.T) {
	for text, want := range map[string]Spec{
		`null`: {}, ` {} `: {},
		`{"app":"a","later":{"x":[1,null,{"y":"\u0041"}]},"revision":2}`: {App: "a", Revision: 2},
		`{"app":"a","app":"b"}`:                   {App: "b"},
		`{"App":"a","APP":"b","app ":"c","":"d"}`: {},
		`{"\u0061pp":"\u0061\/\ud83d\ude00"}`:     {App: "a/😀"},
		`{"app":null,"revision":null,"owned":null,"versions":null,"bundles":null,"expose_metadata":null}`: {},
		`{"app":"a","app":null,"revision":0}`:      {App: "a"},
		`{"versions":[null,"1"],"bundles":[null]}`: {Versions: []string{"", "1"}, Bundles: []BundleSpec{{}}},
		`{"versions":[ ],"bundles":[],"owned":""}`: {Versions: []string{}, Bundles: []BundleSpec{}, Owned: []byte{}},
		`{"owned":"+/8="}`:                         {Owned: []byte{0xfb, 0xff}},
		`{"rollouts":[{"salt":"DEADbeef000000000000000000000001","cuts":[{"percent":0.0000001},{"percent":100.0000000}]}]}`: {
			Rollouts: []RolloutSpec{{
				Salt: rollout.Salt{0xde, 0xad, 0xbe, 0xef, 15: 1}, Cuts: []rollout.Cut{{Percent: 1}, {Percent: rollout.Everyone}},
			}},
		},
	} {
		if got, err := ParseSpec([]byte(text)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is read as %+v, %v", text, got, err)
		}
	}
}

func TestParseSpecRefuses(t *testing.T) {
	const notJSON, form, base64 = ": is not JSON", "want a number in range, without sign or exponent", ".owned: want base64"
	deep := strings.Repeat("[", jsontext.MaxDepth)
	for _, refused := range [][2]string{
		{``, notJSON}, {` `, notJSON}, {`{`, notJSON}, {`{} {}`, notJSON}, {`{"app":"\x"}`, notJSON}, {"{\"app\":\"\xff\"}", notJSON},
		{`{"later":` + deep + strings.ReplaceAll(deep, "[", "]") + `}`, notJSON},
		{`5`, ": want an object"}, {`"{}"`, ": want an object"}, {`[]`, ": want an object"},
		{`{"app":5}`, ".app: want a string"},
		{`{"x":[{}],"app":["a"]}`, ".app: want a string"},
		{`{"expose_metadata":"true"}`, ".expose_metadata: want true or false"},
		{`{"versions":"1"}`, ".versions: want a list"},
		{`{"versions":{}}`, ".versions: want a list"},
		{`{"versions":["1", {}, 2]}`, ".versions[1]: want a string"},
		{`{"bundles":[[]]}`, ".bundles[0]: want an object"},
		{
			`{"bundles":[{"version":"1"} , {"manifest":[{},{"file_hash":1}]}],"app":1}`,
			".bundles[1].manifest[1].file_hash: want a string",
		},
		{`{"channels":[{},{},{"name":7}]}`, ".channels[2].name: want a string"},
		{`{"segments":[{"when":[]}]}`, ".segments[0].when: want an object"},
		{`{"segments":[{"when":{"is_prod":0}}]}`, ".segments[0].when.is_prod: want true or false"},
		{`{"revision":"1"}`, ".revision: " + form}, {`{"revision":1.0}`, ".revision: " + form},
		{`{"revision":1e3}`, ".revision: " + form}, {`{"revision":-1}`, ".revision: " + form},
		{`{"revision":9223372036854775808}`, ".revision: want a number in range"},
		{`{"revision":92233720368547758070}`, ".revision: " + form},
		{`{"rollouts":[{"phase":2147483648}]}`, ".rollouts[0].phase: want a number in range"},
		{`{"rollouts":[{"cuts":[{"percent":100.0000001}]}]}`, ".rollouts[0].cuts[0].percent: want a number in range"},
		{`{"rollouts":[{"cuts":[{"percent":101}]}]}`, ".rollouts[0].cuts[0].percent: want a number in range"},
		{`{"rollouts":[{"cuts":[{"percent":1.00000000}]}]}`, ".rollouts[0].cuts[0].percent: " + form},
		{`{"rollouts":[{"salt":"00"}]}`, ".rollouts[0].salt: want 32 hex digits"},
		{`{"rollouts":[{"salt":"0g000000000000000000000000000000"}]}`, ".rollouts[0].salt: want 32 hex digits"},
		{`{"rollouts":[{"salt":1}]}`, ".rollouts[0].salt: want a string"},
		{
			`{"rollouts":[{"follows":[{"cuts":[{"segments":["a",0]}]}]}]}`,
			".rollouts[0].follows[0].cuts[0].segments[1]: want a string",
		},
		{`{"owned":[1]}`, ".owned: want a string"},
		{`{"owned":"A"}`, base64}, {`{"owned":"A==="}`, base64}, {`{"owned":"===="}`, base64}, {`{"owned":"AA=A"}`, base64},
		{`{"owned":"AA-_"}`, base64}, {`{"owned":"AAAA===="}`, base64}, {`{"owned":"AA\n=="}`, base64},
	} {
		_, err := ParseSpec([]byte(refused[0]))
		var problem *SpecError
		if !errors.As(err, &problem) || err.Error() != "snapshot: spec"+refused[1] {
			t.Errorf("%.100s: %v, want %q", refused[0], err, refused[1])
		}
	}
}

func TestParseFacts(t *testing.T) {
	x := splitMix(29)
	for range 500 {
		var facts, want Facts
		scatter(&x, reflect.ValueOf(&facts).Elem(), x.chance(20))
		text, err := json.Marshal(facts)
		if err != nil || json.Unmarshal(text, &want) != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got, err := ParseFacts(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s is read as %+v, %v", text, got, err)
		}
	}
	if _, err := ParseFacts([]byte(`{"failed":["1",2]}`)); err == nil || err.Error() != "snapshot: facts.failed[1]: want a string" {
		t.Errorf("got %v", err)
	}
}

// TestStringsAreViews: a Spec of long strings takes no second copy of them, and what it must unescape leaves text alone.
func TestStringsAreViews(t *testing.T) {
	text := []byte(`{"app":"plain","versions":["\u0061b"]}`)
	before := bytes.Clone(text)
	spec, err := ParseSpec(text)
	if err != nil || !bytes.Equal(text, before) {
		t.Fatalf("%s, %v", text, err)
	}
	copy(text, bytes.ReplaceAll(text, []byte("plain"), []byte("other")))
	if spec.App != "other" || spec.Versions[0] != "ab" {
		t.Errorf("app %q is not a view, or version %q is not %q", spec.App, spec.Versions[0], "ab")
	}
}

// TestForgedTextTakesNoMoreThanItsShare: what lists are made of is bounded, however little the text spends on an element,
// in one list or in many.
func TestForgedTextTakesNoMoreThanItsShare(t *testing.T) {
	const size, most = 1 << 18, 20 // bytes made per byte of text, with what the allocator adds
	for _, element := range []string{"{}", "null", `""`, "0"} {
		for _, key := range []string{"bundles", "versions", "channels", "segments", "rollouts"} {
			for _, n := range []int{20, size / (len(element) + 1)} {
				list := `"` + key + `":[` + element + strings.Repeat(","+element, n-1) + `]`
				text := []byte(`{` + list + strings.Repeat(","+list, max(1, size/len(list))-1) + `}`)
				if made, err := madeOf(text); made > most*uint64(len(text)) {
					t.Errorf("%d bytes of %d times %s in %s take %d bytes: %v", len(text), n, element, key, made, err)
				}
			}
		}
	}
}

// madeOf returns how many bytes ParseSpec allocates.
func madeOf(text []byte) (uint64, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := ParseSpec(text)
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, err
}

// TestTheLeastSpecIsNoForgery: the shortest elements that json.Marshal writes are taken in any number.
func TestTheLeastSpecIsNoForgery(t *testing.T) {
	const n = 1000
	text, err := json.Marshal(Spec{
		Bundles: make([]BundleSpec, n), Versions: make([]string, n), Channels: make([]ChannelSpec, n), Segments: make([]SegmentSpec, n),
		Rollouts: []RolloutSpec{{Cuts: make([]rollout.Cut, n), Follows: make([]rollout.Audience, n)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	parsed(t, text)
}

// FuzzParseSpec: what ParseSpec takes, json.Unmarshal takes, and as the same.
func FuzzParseSpec(f *testing.F) {
	for _, v := range []any{&Spec{}, &SegmentSpec{}, &RolloutSpec{}, &Facts{}} { // small ones, so that the fuzzer gets far
		x := splitMix(37)
		scatter(&x, reflect.ValueOf(v).Elem(), false)
		text, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		f.Add([]byte(`{"segments":[` + string(text) + `],"rollouts":[` + string(text) + `]}`))
	}
	f.Add([]byte(`{"app":"a","app":null,"APP":"b","x":[{}],"segments":[{"when":{"platform":["ios"]},"when":{}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		agree(t, text, ParseSpec)
		agree(t, text, ParseFacts)
	})
}

func agree[T any](t *testing.T, text []byte, parse func([]byte) (T, error)) {
	t.Helper()
	got, err := parse(text)
	if err != nil {
		var problem *SpecError
		if !errors.As(err, &problem) {
			t.Fatalf("%v is no SpecError", err)
		}
		return
	}
	names := map[string]bool{}
	keysOf(reflect.TypeFor[T](), names)
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	plain, err := json.Marshal(settled(t, decoder, names))
	if err != nil {
		t.Fatal(err)
	}
	var want T
	if err := json.Unmarshal(plain, &want); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%s\nis read as %+v\nwant %+v: %v", text, got, want, err)
	}
}

// settled reads the next value without what encoding/json takes another way: keys that differ by case, which it takes
// for each other, keys that occur twice, whose values it merges, and null, which it gives to a Salt.
func settled(t *testing.T, d *json.Decoder, names map[string]bool) any {
	t.Helper()
	token, err := d.Token()
	if err != nil {
		t.Fatal(err)
	}
	switch token {
	case json.Delim('['):
		list := []any{}
		for d.More() {
			list = append(list, settled(t, d, names))
		}
		token, err = list, closing(d)
	case json.Delim('{'):
		object := map[string]any{}
		for d.More() {
			key, _ := d.Token()
			value := settled(t, d, names)
			if name, _ := key.(string); names[name] && value != nil {
				object[name] = value
			}
		}
		token, err = object, closing(d)
	}
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func closing(d *json.Decoder) error {
	_, err := d.Token()
	return err
}

// keysOf gathers the JSON keys of every struct in a type.
func keysOf(t reflect.Type, names map[string]bool) {
	switch t.Kind() {
	case reflect.Slice, reflect.Pointer:
		keysOf(t.Elem(), names)
	case reflect.Struct:
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			names[name] = true
			keysOf(t.Field(i).Type, names)
		}
	}
}
