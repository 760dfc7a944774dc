package cloud_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/cloud"
)

// variables is an environment with all that any function uses.
func variables() map[string]string {
	return map[string]string{
		"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "AKIDRESOLVE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "session",
		"AWS_LAMBDA_FUNCTION_NAME": "shop-resolve", "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
		"PALIER_TABLE": "table", "PALIER_STREAM": "stream", "PALIER_STATE": "state",
		"PALIER_SNAPSHOT_TTL": "30s", "PALIER_LOG_LEVEL": "warn", "PALIER_ADMIN_TOKEN_SHA256": strings.Repeat("0a", 32),
		"PALIER_CLOCK": "2026-11-22T12:00:00Z 2027-11-22T12:00:00Z 1", "PALIER_EDGES": "https://one.example.com, https://two.example.com/eu",
		"PALIER_TRUST_PROXIES": "192.0.2.0/24, 198.51.100.7",
	}
}

// get reads from a map as os.Getenv reads from the environment.
func get(variables map[string]string) func(string) string {
	return func(name string) string { return variables[name] }
}

// readAll reads every variable there is.
func readAll(variables map[string]string) (*cloud.Environment, *bytes.Buffer) {
	var log bytes.Buffer
	e := cloud.Read(get(variables), &log)
	e.Store()
	e.Stream()
	e.Large()
	e.SnapshotTTL()
	e.AdminTokenHash()
	e.Edges(url.ParseRequestURI)
	e.TrustProxies()
	return e, &log
}

func TestEnvironment(t *testing.T) {
	e, log := readAll(variables())
	if err := e.Err(); err != nil {
		t.Fatal(err)
	}
	if e.SnapshotTTL() != 30*time.Second || e.FunctionName() != "shop-resolve" || e.Provisioned() {
		t.Errorf("ttl %s, name %q, provisioned %t", e.SnapshotTTL(), e.FunctionName(), e.Provisioned())
	}
	if hash := e.AdminTokenHash(); hex.EncodeToString(hash[:]) != strings.Repeat("0a", 32) {
		t.Errorf("hash %x", hash)
	}
	if edges := e.Edges(url.ParseRequestURI); len(edges) != 2 || edges[0].Host != "one.example.com" || edges[1].String() != "https://two.example.com/eu" {
		t.Errorf("edges %v", edges)
	}
	if proxies := e.TrustProxies(); len(proxies) != 2 || proxies[0].String() != "192.0.2.0/24" || proxies[1].String() != "198.51.100.7/32" {
		t.Errorf("proxies %v", proxies)
	}
	if ahead := time.Until(e.Clock.Now()); ahead < 300*24*time.Hour {
		t.Errorf("the clock is %s ahead", ahead)
	}
	e.Log.Info("not at this level")
	e.Log.Warn("trouble", "app", "shop")
	var line struct{ Level, Msg, App string }
	if err := json.Unmarshal(log.Bytes(), &line); err != nil || line.Level != "WARN" || line.Msg != "trouble" || line.App != "shop" {
		t.Errorf("the log has %q: %v", log, err)
	}
}

func TestEnvironmentOfOptionalVariables(t *testing.T) {
	v := variables()
	for _, name := range []string{"AWS_SESSION_TOKEN", "PALIER_SNAPSHOT_TTL", "PALIER_LOG_LEVEL", "PALIER_ADMIN_TOKEN_SHA256", "PALIER_CLOCK", "PALIER_EDGES", "PALIER_TRUST_PROXIES"} {
		delete(v, name)
	}
	v["AWS_LAMBDA_INITIALIZATION_TYPE"] = "provisioned-concurrency"
	e, log := readAll(v)
	if err := e.Err(); err != nil {
		t.Fatal(err)
	}
	if e.SnapshotTTL() != 0 || e.AdminTokenHash() != nil || e.Edges(url.ParseRequestURI) != nil || e.TrustProxies() != nil || !e.Provisioned() || e.Clock.String() != "" {
		t.Errorf("ttl %s, hash %x, clock %q", e.SnapshotTTL(), e.AdminTokenHash(), e.Clock)
	}
	e.Log.Debug("not at this level")
	e.Log.Info("said")
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d lines: %s", n, log)
	}
}

func TestEnvironmentSaysWhatIsWrong(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_REGION": "", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "PALIER_TABLE": "", "PALIER_STREAM": "", "PALIER_STATE": "",
		"PALIER_SNAPSHOT_TTL": "soon", "PALIER_LOG_LEVEL": "loud", "PALIER_ADMIN_TOKEN_SHA256": "0a", "PALIER_CLOCK": "noon", "PALIER_EDGES": "one.example.com",
		"PALIER_TRUST_PROXIES":      "192.0.2.0/24, proxy.example.com",
		"AWS_ENDPOINT_URL_DYNAMODB": "127.0.0.1:8000", "AWS_ENDPOINT_URL_KINESIS": "ftp://x", "AWS_ENDPOINT_URL_S3": "http://",
	} {
		v := variables()
		v[name] = value
		e, _ := readAll(v)
		err := e.Err()
		if err == nil || !strings.HasPrefix(err.Error(), "environment variable "+name+": ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s=%q: %v", name, value, err)
		}
	}
	for name, value := range map[string]string{"PALIER_SNAPSHOT_TTL": "-1s", "PALIER_ADMIN_TOKEN_SHA256": strings.Repeat("x", 64)} {
		v := variables()
		v[name] = value
		if e, _ := readAll(v); e.Err() == nil {
			t.Errorf("%s=%q was taken", name, value)
		}
	}
}

func TestEnvironmentNamesAllThatIsWrongAtOnce(t *testing.T) {
	e, _ := readAll(nil)
	err := e.Err()
	if err == nil {
		t.Fatal("nothing is wrong with no environment")
	}
	missing := []string{"AWS_ACCESS_KEY_ID", "AWS_REGION", "AWS_SECRET_ACCESS_KEY", "PALIER_STATE", "PALIER_STREAM", "PALIER_TABLE"}
	var named []string
	for line := range strings.Lines(err.Error()) {
		named = append(named, strings.TrimSuffix(strings.Fields(line)[2], ":"))
	}
	if !slices.Equal(named, missing) {
		t.Errorf("it names %v, want %v", named, missing)
	}
}
