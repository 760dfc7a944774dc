package store

import (
	"fmt"
	"slices"
	"testing"

	"github.com/palier-ota/palier/internal/rollout"
)

// TestSplitRemembersBeforeItRemoves cuts a big removal of served bundles: whichever step is the last that is committed,
// no bundle is gone that the state does not remember.
func TestSplitRemembersBeforeItRemoves(t *testing.T) {
	before := rollout.State{App: rollout.NewApp("com.example.shop"), Revision: 1, Bundles: map[string]rollout.Bundle{}}
	var versions []string
	for i := range 3 * stepOps {
		version := fmt.Sprintf("1.0.%d", i)
		versions = append(versions, version)
		before.Bundles[version] = rollout.Bundle{Version: version, Served: true}
	}
	steps := 0
	for i, state := range Split(before, before.WithoutBundles(versions...)) {
		steps++
		for _, version := range versions {
			_, there := state.Bundles[version]
			remembered := slices.ContainsFunc(state.Retired, func(r rollout.RetiredBundle) bool { return r.Version == version })
			if !there && !remembered {
				t.Fatalf("step %d: bundle %s is gone and forgotten", i, version)
			}
		}
	}
	if steps < 2 {
		t.Errorf("%d steps: nothing was cut", steps)
	}
}
