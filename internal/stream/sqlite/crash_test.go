package sqlite_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/palier-ota/palier/internal/store/storetest"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/stream/sqlite"
)

// crashPath and crashLife name the environment variables that turn this test program into the sender that is to be
// killed: the log's file, and which life of the sender this is.
const (
	crashPath = "PALIER_TEST_CRASH_STREAM"
	crashLife = "PALIER_TEST_CRASH_LIFE"
)

const (
	crashes = 20
	senders = 8
)

func TestMain(m *testing.M) {
	if path := os.Getenv(crashPath); path != "" {
		if err := send(path, os.Getenv(crashLife)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// send has several devices append, two records at a time, and prints every record that was acknowledged. It goes on
// until it is killed.
func send(path, life string) error {
	s, err := sqlite.Open(path, sqlite.Options{})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for device := range senders {
		go func() {
			for n := 0; ; n += 2 {
				var batch []stream.Record
				printed := ""
				for i := range 2 {
					id := fmt.Sprintf("%s %d %d", life, device, n+i)
					batch = append(batch, stream.Record{Key: uint64(device), Data: []byte(id)})
					printed += id + "\n"
				}
				if err := s.Append(context.Background(), batch); err != nil {
					failed <- err
				}
				if _, err := os.Stdout.WriteString(printed); err != nil {
					failed <- err
				}
			}
		}()
	}
	return <-failed
}

// TestKilledSender kills a sending process at random moments: what was acknowledged is there, once, and each device's
// records are in order.
func TestKilledSender(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stream.db")
	random := rand.New(rand.NewPCG(9, 9))
	var acknowledged []string
	for life := range crashes {
		acknowledged = append(acknowledged, storetest.KillAfter(t, 1+random.IntN(600), crashPath+"="+path, crashLife+"="+strconv.Itoa(life))...)
		checkLog(t, path, acknowledged)
	}
}

func checkLog(t *testing.T, path string, acknowledged []string) {
	t.Helper()
	s := open(t, path, sqlite.Options{})
	defer s.Close()
	names, err := s.Shards(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	type source struct{ life, device int }
	next := map[source]int{}
	found := map[string]bool{}
	for _, shard := range names {
		for after := stream.Position(""); ; {
			page, err := s.Read(t.Context(), shard, after, 0)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			after = page[len(page)-1].Position
			for _, r := range page {
				var from source
				var n int
				if _, err := fmt.Sscanf(string(r.Data), "%d %d %d", &from.life, &from.device, &n); err != nil {
					t.Fatalf("a record reads %q", r.Data)
				}
				if n != next[from] {
					t.Fatalf("record %q where number %d is due", r.Data, next[from])
				}
				next[from]++
				found[string(r.Data)] = true
			}
		}
	}
	for from, n := range next {
		if n%2 != 0 {
			t.Errorf("a batch of %+v is there by half", from)
		}
	}
	for _, id := range acknowledged {
		if !found[id] {
			t.Fatalf("record %q was acknowledged and is lost", id)
		}
	}
}
