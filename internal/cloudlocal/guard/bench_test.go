package guard_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/cloudlocal/guard"
	"github.com/palier-ota/palier/internal/cloudlocal/policy"
)

// BenchmarkCall compares a GetItem through the guard with one without it, before a server that does nothing.
func BenchmarkCall(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"Item":{}}`)
	}))
	defer server.Close()
	p, err := guard.Start(guard.Options{
		Service: guard.DynamoDB, Upstream: server.URL, Authorize: func(string, policy.Request) bool { return true },
	})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	b.Run("direct", func(b *testing.B) { getItems(b, server.URL) })
	b.Run("guarded", func(b *testing.B) { getItems(b, p.URL) })
}

func getItems(b *testing.B, url string) {
	b.ReportAllocs()
	for b.Loop() {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url,
			strings.NewReader(`{"TableName":"t","Key":{"pk":{"S":"APP#com.example"},"sk":{"S":"SNAPSHOT"}}}`))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("X-Amz-Target", "DynamoDB_20120810.GetItem")
		req.Header.Set("Content-Type", "application/x-amz-json-1.0")
		req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=ResolveFunction/20260101/us-east-1/dynamodb/aws4_request")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			b.Fatal(resp.Status)
		}
	}
}
