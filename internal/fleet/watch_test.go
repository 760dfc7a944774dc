package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAnswers(t *testing.T) {
	const url = `"url":"https://cdn.example.com/b.zip"`
	entry := `{"file_name":"index.html","file_hash":"9f","download_url":"https://cdn.example.com/i"}`
	for _, c := range []struct {
		name, body, plugin string
		offer              bool
		faults             []Kind
	}{
		{"offer", `{"version":"1.1.0",` + url + `,"session_key":"","checksum":"ab"}`, "8.51.23", true, nil},
		{"offer with note", `{"version":"1.1.0",` + url + `,"checksum":"ab","link":"https://x.example","comment":"c"}`, "8.51.23", true, nil},
		{"manifest", `{"version":"1.1.0",` + url + `,"checksum":"","manifest":[` + entry + `]}`, "8.51.23", true, nil},
		{"up to date", upToDate().body, "8.51.23", false, nil},
		{"blocked with version", `{"error":"disable_auto_update_to_major","message":"m","kind":"blocked","version":"2.0.0","old":"1.0.0","major":true}`, "8.51.23", false, nil},
		{"store build", `{"version":"builtin"}`, "8.51.23", true, nil},
		{"zip without checksum, older plugin", `{"version":"1.1.0",` + url + `}`, "7.17.0", true, nil},

		{"empty", "", "8.51.23", false, []Kind{EmptyBody}},
		{"blank", " \n", "8.51.23", false, []Kind{EmptyBody}},
		{"html", "<html>Bad gateway</html>", "8.51.23", false, []Kind{NotJSON}},
		{"array", "[]", "8.51.23", false, []Kind{NotJSON}},
		{"null", "null", "8.51.23", false, []Kind{NotJSON}},
		{"empty object", "{}", "8.51.23", false, []Kind{MissingVersion}},
		{"empty version", `{"version":"",` + url + `}`, "8.51.23", false, []Kind{MissingVersion}},
		{"no url", `{"version":"1.1.0","checksum":"ab"}`, "8.51.23", false, []Kind{MissingURL}},
		{"relative url", `{"version":"1.1.0","url":"/b.zip","checksum":"ab"}`, "8.51.23", false, []Kind{MissingURL}},
		{"manifest without url", `{"version":"1.1.0","manifest":[` + entry + `]}`, "8.51.23", false, []Kind{MissingURL}},
		{"empty error in offer", `{"version":"1.1.0",` + url + `,"checksum":"ab","error":""}`, "8.51.23", false, []Kind{ErrorInOffer}},
		{"kind in offer", `{"version":"1.1.0",` + url + `,"checksum":"ab","kind":"up_to_date"}`, "8.51.23", false, []Kind{ErrorInOffer}},
		{"message in offer", `{"version":"1.1.0",` + url + `,"checksum":"ab","message":"hello"}`, "8.51.23", false, []Kind{ErrorInOffer}},
		{"null session key", `{"version":"1.1.0",` + url + `,"checksum":"ab","session_key":null}`, "8.51.23", false, []Kind{NullString}},
		{"number for version", `{"version":1,` + url + `,"checksum":"ab"}`, "8.51.23", false, []Kind{WrongType, MissingVersion}},
		{"manifest no array", `{"version":"1.1.0",` + url + `,"manifest":{}}`, "8.51.23", false, []Kind{WrongType}},
		{"manifest null", `{"version":"1.1.0",` + url + `,"manifest":null}`, "8.51.23", false, []Kind{WrongType}},
		{"manifest entry without hash", `{"version":"1.1.0",` + url + `,"manifest":[{"file_name":"a","download_url":"https://x.example"}]}`, "8.51.23", false, []Kind{WrongType}},
		{"manifest for an old plugin", `{"version":"1.1.0",` + url + `,"manifest":[` + entry + `]}`, "6.14.26", false, []Kind{NotForPlugin}},
		{"store build for an old plugin", `{"version":"builtin"}`, "5.9.5", false, []Kind{NotForPlugin}},
		{"zip without checksum", `{"version":"1.1.0",` + url + `}`, "8.51.23", false, []Kind{MissingChecksum}},
		{"refusal without kind", `{"error":"no_channel","message":"m"}`, "8.51.23", false, []Kind{MissingKind}},
		{"refusal of unknown kind", `{"error":"no_channel","message":"m","kind":"maybe"}`, "8.51.23", false, []Kind{MissingKind}},
		{"refusal with null message", `{"error":"no_channel","message":null,"kind":"failed"}`, "8.51.23", false, []Kind{NullString}},
		{"empty error alone", `{"error":"","kind":"blocked"}`, "8.51.23", false, []Kind{MissingVersion}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := newPlugin(c.plugin)
			if err != nil {
				t.Fatal(err)
			}
			a := readAnswer([]byte(c.body), p)
			var kinds []Kind
			for _, f := range a.faults {
				kinds = append(kinds, f.kind)
			}
			if a.offer != c.offer || !slices.Equal(kinds, c.faults) {
				t.Errorf("offer %v, faults %v; want %v, %v", a.offer, a.faults, c.offer, c.faults)
			}
		})
	}
}

// always answers every update check the same.
func always(a answerOf) *script {
	return &script{check: func(*script, map[string]any) answerOf { return a }}
}

func TestViolationsOfWholeRuns(t *testing.T) {
	for _, c := range []struct {
		name   string
		server *script
		kind   Kind
		errors string
	}{
		{"500", always(answerOf{status: 500, body: `{"error":"unknown_error"}`}), ServerError, "500"},
		{"400", always(answerOf{status: 400, body: `{"error":"invalid_json_body"}`}), Refused, "400"},
		{"429 without a hint", always(answerOf{status: 429, body: `{"message":"Too Many Requests"}`}), NoRetryAfter, "429"},
		{"redirect", always(answerOf{status: 302, header: map[string]string{"Location": "/elsewhere"}}), Redirected, "302"},
		{"empty", always(answerOf{status: 200}), EmptyBody, ""},
		{"html", always(answerOf{body: "<html>"}), NotJSON, ""},
		{"statistics 500", &script{stats: func(*script, []map[string]any) answerOf { return answerOf{status: 503} }}, ServerError, "503"},
		{"statistics empty", &script{stats: func(*script, []map[string]any) answerOf { return answerOf{status: 200} }}, EmptyBody, ""},
		{"one event refused", &script{stats: func(_ *script, events []map[string]any) answerOf {
			return answerOf{body: `{"status":"ok","results":[{"status":"error","index":0,"error":"invalid_json_body"}]}`}
		}}, Refused, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config("8.51.23")
			cfg.Devices, cfg.Duration, cfg.Session = 10, 12*time.Hour, 10*time.Second
			r := play(t, cfg, c.server)
			if n := r.ViolationCounts[c.kind]; n == 0 || n != r.ViolationCount() || r.Violations[0].Kind != c.kind {
				t.Errorf("violations %v, want only %s", r.ViolationCounts, c.kind)
			}
			if c.errors == "" && r.ErrorCount() > 0 || c.errors != "" && r.Errors[c.errors] == 0 {
				t.Errorf("errors %v, want %q", r.Errors, c.errors)
			}
		})
	}
}

func TestWellMannered429IsNoViolation(t *testing.T) {
	s := always(answerOf{status: 429, body: `{"error":"on_premise_app"}`, header: map[string]string{"Retry-After": "60"}})
	r := play(t, mixed(), s)
	wantNoViolations(t, r)
	if r.Errors["429"] == 0 {
		t.Errorf("errors %v", r.Errors)
	}
}

func TestViolationsAreBoundedButCounted(t *testing.T) {
	c := mixed()
	r := play(t, c, always(answerOf{body: "<html>"}))
	if len(r.Violations) != keptViolations || r.ViolationCounts[NotJSON] != r.Checks || r.Checks <= keptViolations {
		t.Errorf("%d listed, %v counted in %d checks", len(r.Violations), r.ViolationCounts, r.Checks)
	}
	ids := make([]string, c.Devices)
	for i := range ids {
		ids[i] = DeviceID(c.Seed, i)
	}
	if v := r.Violations[0]; !slices.Contains(ids, v.Device) || v.Detail != "<html>" {
		t.Errorf("violation %+v: want a device of the fleet and the body", v)
	}
}

func TestAckLogHoldsWhatTheServerTook(t *testing.T) {
	c, s := mixed(), &script{check: offering("1.1.0")}
	// The server refuses every fifth request: those events must not be in the log until they are taken.
	requests, taken := 0, map[string]int{}
	s.stats = func(_ *script, events []map[string]any) answerOf {
		if requests++; requests%5 == 0 {
			return answerOf{status: 429, body: `{"error":"busy"}`, header: map[string]string{"Retry-After": "5"}}
		}
		for _, e := range events {
			version, _ := e["version_name"].(string)
			taken[fmt.Sprint(deviceOf(e), e["action"], version)]++
		}
		return answerOf{}
	}
	var log bytes.Buffer
	c.AckLog = &log
	r := play(t, c, s)
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if uint64(len(lines)) != r.EventsAcked {
		t.Errorf("%d lines, %d events acknowledged", len(lines), r.EventsAcked)
	}
	for _, line := range lines {
		var ack struct {
			Path    string `json:"path"`
			Device  string `json:"device_id"`
			Action  string `json:"action"`
			Version string `json:"version_name"`
			Time    int64  `json:"timestamp"`
		}
		if err := json.Unmarshal([]byte(line), &ack); err != nil || ack.Time == 0 || ack.Path != "/stats" {
			t.Fatalf("%v: %s", err, line)
		}
		taken[ack.Device+ack.Action+ack.Version]--
	}
	for key, n := range taken {
		if n != 0 {
			t.Errorf("%s: the server took %d more than the log says", key, n)
		}
	}
}

// full is a writer that fails.
type full struct{ err error }

func (f full) Write([]byte) (int, error) { return 0, f.err }

func TestAckLogFailureIsTheRunsError(t *testing.T) {
	boom := errors.New("no space left")
	l := &ackLog{out: full{boom}}
	l.events(&device{id: "A"}, []event{{action: "set"}}, nil)
	if err := l.err(); !errors.Is(err, boom) {
		t.Errorf("error %v, want one that wraps %v", err, boom)
	}
}

func TestRefusedEvents(t *testing.T) {
	for body, want := range map[string][]bool{
		`{"status":"ok"}`: nil,
		`{"status":"ok","results":[{"status":"ok","index":0},{"status":"error","index":1,"error":"x"}]}`: {false, true, false},
		`{"error":"version_not_found"}`:                                                            {true, true, true},
		`{"status":"ok","results":[{"status":"error","index":9}]}`:                                 {false, false, false},
		`{"status":"ok","taken":2,"rejected":[{"index":2,"error":"invalid_field","message":"m"}]}`: {false, false, true},
		`"error" and no JSON`: {true, true, true},
	} {
		if got := refusedEvents([]byte(body), 3); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", body, got, want)
		}
	}
}
