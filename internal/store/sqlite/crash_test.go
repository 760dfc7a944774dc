package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/store/sqlite"
	"github.com/palier-ota/palier/internal/store/storetest"
)

// crashPath names the environment variable that turns this test program into the writer that is to be killed.
const crashPath = "PALIER_TEST_CRASH_STORE"

const crashes = 20

var trio = [3]store.Key{{PK: "CRASH", SK: "a"}, {PK: "CRASH", SK: "b"}, {PK: "OTHER", SK: "c"}}

func TestMain(m *testing.M) {
	if path := os.Getenv(crashPath); path != "" {
		if err := writeTrios(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// writeTrios raises three items together, again and again, and prints every number that was acknowledged. It goes on
// until it is killed.
func writeTrios(path string) error {
	s, err := sqlite.Open(path, sqlite.Options{})
	if err != nil {
		return err
	}
	ctx := context.Background()
	last, err := s.Get(ctx, trio[0], store.Strong)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	for n := last.Version + 1; ; n++ {
		var ops []store.Op
		for _, k := range trio {
			item := store.Item{Key: k, Version: n, Value: []byte(strings.Repeat(strconv.FormatInt(n, 10)+" ", 500))}
			ops = append(ops, store.Put(item, store.AtVersion(n-1)))
		}
		if err := s.Write(ctx, ops...); err != nil {
			return err
		}
		if _, err := fmt.Println(n); err != nil {
			return err
		}
	}
}

// TestKilledWriter kills a writing process at random moments: what it was told is written is there, and no Write is
// ever there by half.
func TestKilledWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	random := rand.New(rand.NewPCG(7, 7))
	acknowledged := int64(0)
	for range crashes {
		lines := storetest.KillAfter(t, 1+random.IntN(60), crashPath+"="+path)
		if n, err := strconv.ParseInt(lines[len(lines)-1], 10, 64); err != nil || n <= acknowledged {
			t.Fatalf("acknowledged %q after %d", lines, acknowledged)
		} else {
			acknowledged = n
		}
		checkTrios(t, path, acknowledged)
	}
	checkIntegrity(t, path)
}

func checkTrios(t *testing.T, path string, acknowledged int64) {
	t.Helper()
	s := open(t, path, sqlite.Options{})
	defer s.Close()
	var versions []int64
	for _, k := range trio {
		got, err := s.Get(t.Context(), k, store.Strong)
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.Repeat(strconv.FormatInt(got.Version, 10)+" ", 500); string(got.Value) != want {
			t.Errorf("%s at version %d has another version's value", k, got.Version)
		}
		versions = append(versions, got.Version)
	}
	if versions[0] != versions[1] || versions[1] != versions[2] {
		t.Fatalf("a write is there by half: versions %d", versions)
	}
	if n := versions[0]; n < acknowledged || n > acknowledged+1 {
		t.Fatalf("version %d is there, %d was acknowledged", n, acknowledged)
	}
}

func checkIntegrity(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("integrity: %s, %v", verdict, err)
	}
}
