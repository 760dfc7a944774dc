package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/store/sqlite"
)

// documents draws documents as operators might write them: complete or with holes, referring to what is there or not.
func documents() *rapid.Generator[map[string]any] {
	return rapid.Custom(func(t *rapid.T) map[string]any {
		doc := map[string]any{}
		if rapid.Bool().Draw(t, "named") {
			doc["name"] = rapid.SampledFrom([]any{"Shop", "yes", "1.10", "null", nil}).Draw(t, "name")
		}
		if rapid.Bool().Draw(t, "metadata") {
			doc["expose_metadata"] = rapid.Bool().Draw(t, "expose_metadata")
		}
		lists := map[string]*rapid.Generator[map[string]any]{
			"bundles": bundles(), "channels": channels(), "segments": segments(), "devices": devices(), "plans": plans(),
		}
		for _, list := range slices.Sorted(maps.Keys(lists)) {
			entries := lists[list]
			if rapid.IntRange(0, 3).Draw(t, "has "+list) > 0 {
				doc[list] = rapid.SliceOfNDistinct(entries, 0, 4, func(e map[string]any) string { return fmt.Sprint(e["name"], e["version"], e["device_id"]) }).Draw(t, list)
			}
		}
		return doc
	})
}

// some draws a subset of the fields.
func some(t *rapid.T, name string, key string, fields map[string]any) map[string]any {
	entry := map[string]any{key: fields[key]}
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		if rapid.Bool().Draw(t, name+"."+field) {
			entry[field] = fields[field]
		}
	}
	return entry
}

func versions() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"1.0.0", "1.1.0", "2.0.0-rc.1", "2.0.0"})
}

func bundles() *rapid.Generator[map[string]any] {
	return rapid.Custom(func(t *rapid.T) map[string]any {
		return some(t, "bundle", "version", map[string]any{
			"version": versions().Draw(t, "version"), "url": "https://cdn.example.com/a.zip",
			"comment":            rapid.SampledFrom([]any{"", "words", "#:- [x]", "line\nbreak", nil}).Draw(t, "comment"),
			"min_update_version": "1.0.0", "requires_consent": rapid.Bool().Draw(t, "consent"),
			"manifest": []any{map[string]any{"file_name": "index.html", "file_hash": "abc", "download_url": "https://cdn.example.com/i"}},
		})
	})
}

func channels() *rapid.Generator[map[string]any] {
	return rapid.Custom(func(t *rapid.T) map[string]any {
		return some(t, "channel", "name", map[string]any{
			"name":   rapid.SampledFrom([]string{"production", "beta", "on", "7"}).Draw(t, "name"),
			"bundle": rapid.SampledFrom([]any{"", "builtin", "1.0.0", "2.0.0", nil}).Draw(t, "bundle"),
			"public": rapid.Bool().Draw(t, "public"), "ios": rapid.Bool().Draw(t, "ios"), "allow_dev": rapid.SampledFrom([]any{true, false, nil}).Draw(t, "dev"),
			"disable_auto_update": rapid.SampledFrom([]string{"major", "minor", "none"}).Draw(t, "policy"),
			"number":              int64(5), "kept": []any{"1.0.0"}, // the server's own, ignored
		})
	})
}

func segments() *rapid.Generator[map[string]any] {
	return rapid.Custom(func(t *rapid.T) map[string]any {
		return some(t, "segment", "name", map[string]any{
			"name":       rapid.SampledFrom([]string{"internal", "beta", "false"}).Draw(t, "name"),
			"device_ids": []any{"00009a6b-eefe-490a-9c60-8e965132ae51"}, "custom_ids": []any{"anna", "0x1f"},
			"when": rapid.SampledFrom([]any{nil, map[string]any{}, map[string]any{"platform": []any{"ios"}, "version_os": ">=17", "is_prod": false}}).Draw(t, "when"),
		})
	})
}

func devices() *rapid.Generator[map[string]any] {
	return rapid.Custom(func(t *rapid.T) map[string]any {
		return some(t, "device", "device_id", map[string]any{
			"device_id": rapid.SampledFrom([]string{"00009A6B-EEFE-490A-9C60-8E965132AE51", "11119a6b-eefe-490a-9c60-8e965132ae51"}).Draw(t, "id"),
			"channel":   rapid.SampledFrom([]any{"production", "beta", "", nil}).Draw(t, "channel"),
		})
	})
}

func plans() *rapid.Generator[map[string]any] {
	return rapid.Custom(func(t *rapid.T) map[string]any {
		percent := rapid.SampledFrom([]json.Number{"5", "0.0000001", "12.5", "50"}).Draw(t, "percent")
		return some(t, "plan", "name", map[string]any{
			"name": rapid.SampledFrom([]string{"mine", "careful"}).Draw(t, "name"),
			"phases": []any{
				map[string]any{"percent": percent, "segments": rapid.SampledFrom([]any{nil, []any{}, []any{"internal"}}).Draw(t, "segments"), "hold": map[string]any{"min": "90m", "max": "3d"}},
				map[string]any{"percent": 100, "approval": true},
			},
			"on_timeout": "rollback", "alpha": rapid.SampledFrom([]json.Number{"0.05", "1e-9", "0.5"}).Draw(t, "alpha"), "holdback": 1,
			"gates": []any{map[string]any{"metric": "crash", "margin": 2, "action": "halt"}},
		})
	})
}

// TestApplyIsIdempotent applies random documents, one after the other, to one app. Whatever was accepted changes nothing
// when it is applied again, nor does what the app exports, in either format; whatever was refused changed nothing; and a
// dry run foretells exactly what then happens.
func TestApplyIsIdempotent(t *testing.T) {
	s := newServer(t)
	accepted, refused, n := 0, 0, 0
	rapid.Check(t, func(r *rapid.T) {
		n++
		app := fmt.Sprintf("/api/v1/apps/com.example.n%d", n)
		s.ok("PUT", app, `{"bundles":[{"version":"1.0.0"},{"version":"2.0.0"}],"channels":[{"name":"production"}],"segments":[{"name":"internal"}]}`)
		for range rapid.IntRange(1, 3).Draw(r, "documents") {
			body, err := json.Marshal(documents().Draw(r, "document"))
			if err != nil {
				r.Fatal(err)
			}
			query := rapid.SampledFrom([]string{"?", "?prune=true&"}).Draw(r, "prune")
			before := s.ok("GET", app, "").body
			dry := s.do(request{method: "PUT", path: app + query + "dry_run=true", body: string(body)})
			done := s.do(request{method: "PUT", path: app + query, body: string(body)})
			if dry.status != done.status || lookup(dry.body, "changes") != lookup(done.body, "changes") {
				r.Fatalf("the dry run of %s said %d %s, then came %d %s", body, dry.status, dry.body, done.status, done.body)
			}
			if done.status/100 != 2 {
				refused++
				if done.status/100 != 4 {
					r.Fatalf("%s was answered %d %s", body, done.status, done.body)
				}
				if after := s.ok("GET", app, "").body; after != before {
					r.Fatalf("refusing %s with %s changed %s to %s", body, done.body, before, after)
				}
				continue
			}
			accepted++
			for what, again := range map[string]request{
				"the same document": {body: string(body)},
				"the JSON export":   {body: s.ok("GET", app, "").body},
				"the YAML export":   {body: s.do(request{method: "GET", path: app, accept: "application/yaml"}).body, contentType: "application/yaml"},
			} {
				again.method, again.path = "PUT", app+query
				a := s.do(again)
				if a.status != 200 || lookup(a.body, "changes") != "[]" || lookup(a.body, "revision") != lookup(done.body, "revision") {
					r.Fatalf("after %s, %s\n%s\nwas answered %d %s", body, what, again.body, a.status, a.body)
				}
			}
		}
	})
	if accepted < 50 || refused < 20 {
		t.Errorf("%d documents accepted and %d refused: the generator says too little", accepted, refused)
	}
}

// TestLargeDocument applies a document that no one transaction can hold.
func TestLargeDocument(t *testing.T) {
	s := newServer(t)
	type object = map[string]any
	var bundles, devices []object
	for i := range 150 {
		bundles = append(bundles, object{"version": fmt.Sprintf("1.%d.0", i), "comment": "build"})
	}
	for i := range 400 {
		devices = append(devices, object{"device_id": fmt.Sprintf("%08x-eefe-490a-9c60-8e965132ae51", i), "channel": "beta"})
	}
	body, err := json.Marshal(object{"bundles": bundles, "devices": devices, "channels": []object{{"name": "beta", "bundle": "1.149.0"}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := lookup(s.ok("PUT", shop, string(body)).body, "changes#"); got != "552" {
		t.Errorf("%s changes, want 552", got)
	}
	a := s.ok("PUT", shop+"?prune=true", string(body))
	if lookup(a.body, "changes") != "[]" {
		t.Errorf("applied again: %.300s", a.body)
	}
	events := s.ok("GET", shop+"/events", "").body
	if lookup(events, "items#") != "1" || lookup(events, "items[0].detail.changes#") != "200" || lookup(events, "items[0].detail.more") != "352" {
		t.Errorf("one apply left the log %.300s", events)
	}
	// Many long values at once still fit the log, cut short.
	for _, b := range bundles {
		b["comment"], b["link"] = strings.Repeat("é", 1000), "https://example.com/"+strings.Repeat("x", 200)
	}
	if body, err = json.Marshal(object{"bundles": bundles[:149]}); err != nil {
		t.Fatal(err)
	}
	s.ok("PUT", shop, string(body))
	if last := s.ok("GET", shop+"/events?limit=1", "").body; lookup(last, "items[0].detail.changes#") != "149" || len(last) > 200_000 {
		t.Errorf("the log keeps %d bytes: %.300s", len(last), last)
	}
	s.ok("DELETE", shop, "")
}

// FuzzApply throws bytes at an app's document: no body makes the server fail, and what is refused leaves no trace.
func FuzzApply(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"channels":[{"name":"beta","bundle":"1.0.0"}]}`, `{"plans":[{"name":"x","phases":[{"percent":5}]}]}`,
		"channels:\n- name: beta\n  bundle: 1.0.0\n", "a: [1, {b: c}]\n", "- - - x", "? x\n: y", "&a [*a]", "%YAML 1.2\n---\n", "name: !!binary aGk=\n", "\"\\x", "|", "a: >-\n x",
		"name: 1e999", "plans: [{name: x, alpha: -.inf}]", "name: |2\n   x", "{a: b", "'", "!", "a:\n\t- b", "\xef\xbb\xbfname: x",
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	db, err := sqlite.Open(f.TempDir()+"/state.db", sqlite.Options{Relaxed: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { db.Close() })
	service, err := admin.New(admin.Config{Store: db, Rand: rand.NewChaCha8([32]byte{2})})
	if err != nil {
		f.Fatal(err)
	}
	if err := service.Bootstrap(context.Background(), rootToken); err != nil {
		f.Fatal(err)
	}
	s := &handlerClient{handler: service.Handler()}
	s.do("PUT", shop, "application/json", `{"bundles":[{"version":"1.0.0"}],"channels":[{"name":"production","bundle":"1.0.0"}]}`)
	f.Fuzz(func(t *testing.T, body []byte, yaml bool) {
		media := "application/json"
		if yaml {
			media = "application/yaml"
		}
		_, before := s.do("GET", shop, "", "")
		status, text := s.do("PUT", shop+"?dry_run=true", media, string(body))
		if status != 200 && status/100 != 4 {
			t.Fatalf("answered %d %s", status, text)
		}
		if !json.Valid([]byte(text)) {
			t.Fatalf("answered %q, which is not JSON", text)
		}
		if _, after := s.do("GET", shop, "", ""); after != before {
			t.Fatalf("a dry run changed %s to %s", before, after)
		}
	})
}
