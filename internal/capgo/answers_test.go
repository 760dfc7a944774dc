package capgo_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
)

// awkward is a bundle whose texts need every kind of escape.
func awkward() rollout.Bundle {
	return rollout.Bundle{
		Version: "4.0.3", URL: `https://cdn.example.com/a"b\c.zip`, SessionKey: "iv:key", KeyID: "MIIB", Checksum: "cc",
		Link: "https://example.com/notes", Comment: "Fünf \"neue\"\tSachen\n\x01\xff\u2028",
		Manifest: []rollout.ManifestFile{
			{FileName: "index.html", FileHash: "11", DownloadURL: "https://cdn.example.com/11"},
			{FileName: `a "b".js`, FileHash: "22", DownloadURL: "https://cdn.example.com/22"},
		},
	}
}

func stateWith(b rollout.Bundle, expose bool) rollout.State {
	s := benchState()
	s.App.ExposeMetadata = expose
	s.Bundles = map[string]rollout.Bundle{b.Version: b}
	return s
}

func check(t *testing.T, plugin string) resolve.Check {
	t.Helper()
	var r capgo.Request
	body := strings.Replace(string(benchBody), "8.51.23", plugin, 1)
	if refusal := r.ParseCheck([]byte(body)); refusal != nil {
		t.Fatal(refusal.Message)
	}
	return r.Check
}

func decode(t *testing.T, body []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return m
}

func TestOffersByPluginGeneration(t *testing.T) {
	for _, c := range []struct {
		plugin             string
		expose             bool
		manifest, metadata bool
	}{
		{"8.51.23", true, true, true},
		{"8.51.23", false, true, false},
		{"8.34.9", true, true, false},
		{"7.0.34", true, false, false},
		{"5.9.5", true, false, false},
		{"5.35.0", true, true, true},
	} {
		b := awkward()
		p := newPlayer(t, stateWith(b, c.expose))
		k := check(t, c.plugin)
		d := resolve.Decision{Reason: resolve.Offer, Bundle: p.snapshot.Bundle(b.Version)}
		got := decode(t, p.answers.Append(nil, &k, d))
		want := map[string]any{"version": b.Version, "url": b.URL, "session_key": b.SessionKey, "checksum": b.Checksum}
		if c.manifest {
			var files []any
			for _, f := range b.Manifest {
				files = append(files, map[string]any{"file_name": f.FileName, "file_hash": f.FileHash, "download_url": f.DownloadURL})
			}
			want["manifest"] = files
		}
		if c.metadata {
			want["link"], want["comment"] = b.Link, strings.ToValidUTF8(b.Comment, "\ufffd")
		}
		if g, w := marshal(t, got), marshal(t, want); g != w {
			t.Errorf("%s, expose %v:\ngot  %s\nwant %s", c.plugin, c.expose, g, w)
		}
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestManifestOnlyOfferHasAnAbsoluteURL(t *testing.T) {
	b := awkward()
	b.URL, b.Checksum = "", ""
	p := newPlayer(t, stateWith(b, false))
	k := check(t, "8.51.23")
	d := p.snapshot.Resolve(&k, &resolve.Facts{})
	k.KeyID = ""
	d = p.snapshot.Resolve(&k, &resolve.Facts{})
	if d.Reason != resolve.Offer {
		t.Fatal(d.Reason)
	}
	got := decode(t, p.answers.Append(nil, &k, d))
	if url, _ := got["url"].(string); !strings.HasPrefix(url, "https://") {
		t.Errorf("url %q", url)
	}
	if checksum, there := got["checksum"]; !there || checksum != nil {
		t.Errorf("checksum %v, want null", checksum)
	}
}

func TestOfferBuiltinIsExact(t *testing.T) {
	p := newPlayer(t, benchState())
	k := check(t, "8.51.23")
	if got := string(p.answers.Append(nil, &k, resolve.Decision{Reason: resolve.OfferBuiltin})); got != `{"version":"builtin"}` {
		t.Error(got)
	}
}

// TestNoOfferNeverLooksLikeOne asks for every reason, with and without a bundle, on every platform.
func TestNoOfferNeverLooksLikeOne(t *testing.T) {
	b := awkward()
	p := newPlayer(t, stateWith(b, true))
	k := check(t, "8.51.23")
	k.VersionName, k.KeyID = `9"\`+"\n", `"`
	bundle := p.snapshot.Bundle(b.Version)
	withStep := map[string]bool{
		"disable_auto_update_to_major": true, "disable_auto_update_to_minor": true, "disable_auto_update_to_patch": true,
		"disable_auto_update_to_metadata": true,
	}
	for reason := resolve.UnsupportedPlugin; reason < resolve.NumReasons; reason++ {
		for _, d := range []resolve.Decision{
			{Reason: reason, Kind: resolve.UpToDate}, {Reason: reason, Kind: resolve.Blocked, Bundle: bundle}, {Reason: reason},
		} {
			for _, k.Platform = range []resolve.Platform{resolve.Android, resolve.IOS, resolve.Electron} {
				got := decode(t, p.answers.Append(nil, &k, d))
				if got["error"] != reason.Code(k.Platform) || got["message"] != reason.Message() || got["error"] == "" {
					t.Errorf("%v: %v", reason, got)
				}
				if kind := got["kind"]; kind != d.Kind.String() && !(d.Kind == resolve.KindNone && kind == "failed") {
					t.Errorf("%v: kind %v", reason, kind)
				}
				if (got["major"] == true) != withStep[reason.Code(k.Platform)] {
					t.Errorf("%v: major %v", reason, got["major"])
				}
			}
		}
	}
	got := decode(t, p.answers.Append(nil, &k, resolve.Decision{Reason: resolve.KeyIDMismatch, Kind: resolve.Blocked, Bundle: bundle}))
	if got["deviceKeyId"] != k.KeyID || got["bundleKeyId"] != b.KeyID {
		t.Errorf("key ids: %v", got)
	}
	got = decode(t, p.answers.Append(nil, &k, resolve.Decision{Reason: resolve.DisableProd, Kind: resolve.Blocked, Bundle: bundle}))
	if got["version"] != b.Version || got["old"] != k.VersionName {
		t.Errorf("gate: %v", got)
	}
	got = decode(t, p.answers.Append(nil, &k, resolve.Decision{Reason: resolve.DisableMajor, Kind: resolve.Blocked, Bundle: bundle}))
	if got["version"] != b.Version || got["old"] != k.VersionBuild {
		t.Errorf("policy: %v", got)
	}
}

func TestABundleOfAnotherSnapshotIsNotOffered(t *testing.T) {
	p, other := newPlayer(t, benchState()), newPlayer(t, benchState())
	k := check(t, "8.51.23")
	got := decode(t, p.answers.Append(nil, &k, resolve.Decision{Reason: resolve.Offer, Bundle: other.snapshot.Bundle("4.0.3")}))
	if got["error"] != "no_bundle" || got["version"] != nil {
		t.Error(got)
	}
}

func TestRefusalBodies(t *testing.T) {
	for _, r := range []*capgo.Refusal{
		capgo.UnknownApp(), capgo.TooManyRequests(7, 1790000000000), capgo.Unavailable(), capgo.TooLarge(capgo.MaxCheckBody),
	} {
		got := decode(t, r.Append(nil))
		more, _ := got["moreInfo"].(map[string]any)
		if got["error"] != r.Code || got["message"] != r.Message || more == nil {
			t.Errorf("%+v: %v", r, got)
		}
		if r.Status != capgo.StatusTooManyRequests {
			continue
		}
		wait := float64(r.RetryAfter)
		if wait == 0 || got["retryAfterSeconds"] != wait || more["retryAfterSeconds"] != wait || got["kind"] != "blocked" {
			t.Errorf("%+v: %v", r, got)
		}
		if r.ResetAt != 0 && (got["rateLimitResetAt"] != float64(r.ResetAt) || more["rateLimitResetAt"] != float64(r.ResetAt)) {
			t.Errorf("%+v: %v", r, got)
		}
	}
	for _, body := range []string{capgo.HealthBody, capgo.NotFoundBody, string(capgo.ChannelNotStored())} {
		if !json.Valid([]byte(body)) {
			t.Errorf("not JSON: %s", body)
		}
	}
}
