package capgo_test

import (
	"encoding/json"
	"strings"
	"testing"

	gojson "github.com/goccy/go-json"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
)

// benchBody is a check of 471 bytes as an Android plugin of the 8.51 line sends it, with every field filled.
var benchBody = []byte(`{"platform":"android","device_id":"c3a1f1de-8f2e-4c64-b8d0-6a51d0c5b7a2",` +
	`"app_id":"com.example.shop.customer.release","custom_id":"customer-8b0d1d52-6a0e-4f2c-9a35-2f1d7c4e9b10-primary-01","version_build":"4.0.0",` +
	`"version_code":"400","version_os":"15","version_name":"4.0.1-hotfix.1+build.20260801","plugin_version":"8.51.23","is_emulator":false,` +
	`"is_prod":true,"install_source":"samsung_galaxy_store","defaultChannel":"production-eu-west","key_id":"MIIBCgKCAQEAv3PXc9x1"}`)

// shuffledBody is the same check as an iOS plugin orders it: by chance.
var shuffledBody = []byte(`{"version_os":"18.6","is_prod":true,"app_id":"com.example.shop.customer.release","key_id":"MIIBCgKCAQEAv3PXc9x1",` +
	`"device_id":"c3a1f1de-8f2e-4c64-b8d0-6a51d0c5b7a2","version_name":"4.0.1","platform":"ios","is_emulator":false,` +
	`"custom_id":"customer-20481","defaultChannel":"production-eu-west","plugin_version":"8.51.23","version_build":"4.0.0",` +
	`"install_source":"app_store","version_code":"400"}`)

func benchState() rollout.State {
	channel := rollout.NewChannel("production-eu-west")
	channel.Public, channel.Bundle, channel.Number = true, "4.0.3", 1
	app := rollout.App{ID: "com.example.shop.customer.release", Name: "Shop"}
	return rollout.State{
		App: app, Revision: 1,
		Bundles: map[string]rollout.Bundle{"4.0.3": {
			Version:  "4.0.3",
			URL:      "https://cdn.example.com/com.example.shop/4.0.3.zip?key=" + strings.Repeat("k", 257),
			Checksum: strings.Repeat("c", 64), KeyID: "MIIBCgKCAQEAv3PXc9x1",
		}},
		Channels: map[string]rollout.Channel{channel.Name: channel},
	}
}

// wireCheck and wireOffer are what a straightforward server would declare.
type wireCheck struct {
	Platform       string `json:"platform"`
	DeviceID       string `json:"device_id"`
	AppID          string `json:"app_id"`
	CustomID       string `json:"custom_id"`
	VersionBuild   string `json:"version_build"`
	VersionCode    string `json:"version_code"`
	VersionOS      string `json:"version_os"`
	VersionName    string `json:"version_name"`
	PluginVersion  string `json:"plugin_version"`
	IsEmulator     bool   `json:"is_emulator"`
	IsProd         bool   `json:"is_prod"`
	DefaultChannel string `json:"defaultChannel"`
	KeyID          string `json:"key_id"`
	InstallSource  string `json:"install_source"`
}

type wireOffer struct {
	Version    string `json:"version"`
	URL        string `json:"url"`
	SessionKey string `json:"session_key"`
	Checksum   string `json:"checksum"`
}

func (w *wireCheck) check() resolve.Check {
	c := resolve.Check{
		AppID: w.AppID, DeviceID: strings.ToLower(w.DeviceID), CustomID: w.CustomID, Platform: resolve.Android,
		VersionBuild: w.VersionBuild, VersionName: w.VersionName, VersionOS: w.VersionOS, VersionCode: w.VersionCode,
		PluginVersion: w.PluginVersion, DefaultChannel: w.DefaultChannel, KeyID: w.KeyID, InstallSource: w.InstallSource,
		IsEmulator: w.IsEmulator, IsProd: w.IsProd,
	}
	c.Native, _ = resolve.ParseVersion(c.VersionBuild)
	c.Plugin, _ = resolve.ParseVersion(c.PluginVersion)
	return c
}

// benchPeer measures body → decision → answer with a general decoder and encoder in place of this package.
func benchPeer(b *testing.B, unmarshal func([]byte, any) error, marshal func(any) ([]byte, error)) {
	p := newPlayer(b, benchState())
	var facts resolve.Facts
	b.ReportAllocs()
	for b.Loop() {
		var w wireCheck
		if err := unmarshal(benchBody, &w); err != nil {
			b.Fatal(err)
		}
		c := w.check()
		d := p.snapshot.Resolve(&c, &facts)
		if d.Reason != resolve.Offer {
			b.Fatal(d.Reason)
		}
		answer, err := marshal(wireOffer{d.Bundle.Version, d.Bundle.URL, d.Bundle.SessionKey, d.Bundle.Checksum})
		if err != nil || len(answer) == 0 {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodingJSON(b *testing.B) { benchPeer(b, json.Unmarshal, json.Marshal) }

func BenchmarkGoccy(b *testing.B) { benchPeer(b, gojson.Unmarshal, gojson.Marshal) }

func benchPalier(b *testing.B, bodies ...[]byte) {
	p := newPlayer(b, benchState())
	var r capgo.Request
	var facts resolve.Facts
	dst := make([]byte, 0, 1024)
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		body := bodies[n%len(bodies)]
		n++
		if refusal := r.ParseCheck(body); refusal != nil {
			b.Fatal(refusal.Message)
		}
		d := p.snapshot.Resolve(&r.Check, &facts)
		dst = p.answers.Append(dst[:0], &r.Check, d)
	}
	if len(dst) != 435 {
		b.Fatalf("%d bytes are not the offer: %s", len(dst), dst)
	}
}

// BenchmarkPalier is body → decision → answer when every device sends its keys in one order.
func BenchmarkPalier(b *testing.B) { benchPalier(b, benchBody) }

// BenchmarkPalierMixed alternates two orders, so that every guess of the next key is wrong.
func BenchmarkPalierMixed(b *testing.B) { benchPalier(b, benchBody, shuffledBody) }

// BenchmarkParseCheck is the decoding alone.
func BenchmarkParseCheck(b *testing.B) {
	var r capgo.Request
	b.ReportAllocs()
	b.SetBytes(int64(len(benchBody)))
	for b.Loop() {
		if refusal := r.ParseCheck(benchBody); refusal != nil {
			b.Fatal(refusal.Message)
		}
	}
}

// BenchmarkAnswer is the encoding alone.
func BenchmarkAnswer(b *testing.B) {
	p := newPlayer(b, benchState())
	if refusal := p.request.ParseCheck(benchBody); refusal != nil {
		b.Fatal(refusal.Message)
	}
	d := p.snapshot.Resolve(&p.request.Check, &resolve.Facts{})
	dst := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		dst = p.answers.Append(dst[:0], &p.request.Check, d)
	}
}

// BenchmarkResolve is the decision alone.
func BenchmarkResolve(b *testing.B) {
	p := newPlayer(b, benchState())
	if refusal := p.request.ParseCheck(benchBody); refusal != nil {
		b.Fatal(refusal.Message)
	}
	var facts resolve.Facts
	b.ReportAllocs()
	for b.Loop() {
		if d := p.snapshot.Resolve(&p.request.Check, &facts); d.Reason != resolve.Offer {
			b.Fatal(d.Reason)
		}
	}
}
