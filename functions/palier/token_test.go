package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"strings"
	"testing"
)

// TestNewTokenComesWithItsHash: what a deployment is given is the hash of what the operator keeps, and no server is asked.
func TestNewTokenComesWithItsHash(t *testing.T) {
	drawn := func(args ...string) string {
		var out bytes.Buffer
		if code := run(t.Context(), append([]string{"token", "new", "--server", "http://127.0.0.1:1"}, args...), nil, &out, io.Discard); code != exitOK {
			t.Fatalf("exit code %d", code)
		}
		return out.String()
	}
	var made struct{ Token, SHA256 string }
	must(t, json.Unmarshal([]byte(drawn("--json")), &made))
	hash := sha256.Sum256([]byte(made.Token))
	if len(made.Token) < 40 || made.SHA256 != hex.EncodeToString(hash[:]) {
		t.Errorf("token %q with the hash %q", made.Token, made.SHA256)
	}
	fields := strings.Fields(drawn())
	if len(fields) != 4 || fields[0] != "token" || fields[2] != "sha256" {
		t.Fatalf("it prints %q", fields)
	}
	hash = sha256.Sum256([]byte(fields[1]))
	if fields[3] != hex.EncodeToString(hash[:]) || fields[1] == made.Token {
		t.Errorf("it prints %q", fields)
	}
}
