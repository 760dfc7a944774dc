package device_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/device/devicetest"
)

// The golden answers are the exact bytes that devices get, wherever Palier runs. After a deliberate change of behaviour
// write them anew, and read the difference: go test ./internal/device -run Golden -update
var update = flag.Bool("update", false, "write testdata/golden/answers.jsonl anew")

const goldenDir = "../../testdata/golden"

// golden returns a world that has the golden apps and device records, and what is asked of it.
func golden(t *testing.T) (*world, []devicetest.Vector) {
	t.Helper()
	w := newWorld(t)
	questions, err := devicetest.Questions(goldenDir)
	if err != nil {
		t.Fatal(err)
	}
	if err := devicetest.Load(t.Context(), w.store.Store, goldenDir, questions); err != nil {
		t.Fatal(err)
	}
	return w, questions
}

func TestGoldenAnswers(t *testing.T) {
	w, questions := golden(t)
	if *update {
		writeAnswers(t, w.service, questions)
	}
	answers, err := devicetest.Answers(goldenDir)
	if err != nil {
		t.Fatal(err)
	}
	if len(answers) < 600 || len(answers) != len(questions) {
		t.Fatalf("%d answers to %d questions; run with -update and look at the difference", len(answers), len(questions))
	}
	seen := map[string]bool{}
	for i, v := range answers {
		if q := questions[i]; q.Name != v.Name || q.Body != v.Body || q.Snapshot != v.Snapshot || encode(t, q.Facts) != encode(t, v.Facts) {
			t.Fatalf("%s answers another question than there is; run with -update and look at the difference", v.Name)
		}
		a := w.service.Respond(t.Context(), device.Source{}, "POST", device.PathUpdates, "", []byte(v.Body), nil)
		if a.Status != v.Status || string(a.Body) != v.Answer {
			t.Errorf("%s:\n got %d %s\nwant %d %s", v.Name, a.Status, a.Body, v.Status, v.Answer)
		}
		if over := w.ask("POST", device.PathUpdates, v.Body); over.status != v.Status || over.text != v.Answer {
			t.Errorf("%s over HTTP:\n got %d %s\nwant %d %s", v.Name, over.status, over.text, v.Status, v.Answer)
		}
		seen[v.Answer] = true
	}
	if len(seen) < 60 {
		t.Errorf("only %d different answers", len(seen))
	}
}

func writeAnswers(t *testing.T, s *device.Service, questions []devicetest.Vector) {
	t.Helper()
	var out bytes.Buffer
	lines := json.NewEncoder(&out)
	lines.SetEscapeHTML(false)
	for _, v := range questions {
		a := s.Respond(context.Background(), device.Source{}, "POST", device.PathUpdates, "", []byte(v.Body), nil)
		v.Status, v.Answer = a.Status, string(a.Body)
		if err := lines.Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(goldenDir, devicetest.AnswersFile), out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
