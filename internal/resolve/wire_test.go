package resolve_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/resolve"
)

// TestGoldenBodiesMeanTheirChecks reads every golden body with the real protocol parser and decides anew: the text that
// other programs will send is worth what the parsed fields beside it say.
func TestGoldenBodiesMeanTheirChecks(t *testing.T) {
	const dir = "../../testdata/golden/"
	var apps []struct {
		Name string
		Spec resolve.Spec
	}
	text, err := os.ReadFile(dir + "snapshots.json")
	if err == nil {
		err = json.Unmarshal(text, &apps)
	}
	if err != nil {
		t.Fatal(err)
	}
	snapshots := map[string]*resolve.Snapshot{}
	for _, app := range apps {
		if snapshots[app.Name], err = resolve.Compile(app.Spec); err != nil {
			t.Fatal(err)
		}
	}
	lines, err := os.ReadFile(dir + "decisions.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(lines)) {
		var v struct {
			Name, Snapshot, Body string
			Facts                *resolve.Facts
			Want                 struct {
				Reason, Bundle, Arm string
				Phase               int
				Admitted            bool
			}
		}
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatal(err)
		}
		var r capgo.Request
		if refusal := r.ParseCheck([]byte(v.Body)); refusal != nil {
			t.Errorf("%s: refused: %+v", v.Name, refusal)
			continue
		}
		d := snapshots[v.Snapshot].Resolve(&r.Check, v.Facts)
		bundle, arm := "", ""
		if d.Bundle != nil {
			bundle = d.Bundle.Version
		}
		if d.Rollout != nil {
			arm = d.Arm.String()
		}
		if d.Reason.String() != v.Want.Reason || bundle != v.Want.Bundle || arm != v.Want.Arm || d.Phase != v.Want.Phase || d.Admitted != v.Want.Admitted {
			t.Errorf("%s: got %s %s, arm %s, want %+v", v.Name, d.Reason, bundle, arm, v.Want)
		}
	}
}
