package main

import (
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/cloudlocal"
	"github.com/palier-ota/palier/internal/rollout"
)

// The fleets of e2e_test.go once more, through Lambda, DynamoDB and Kinesis. The Kinesis server here takes some hundred
// records a second, so these fleets are smaller.

// TestHealthyBundleReachesEveryoneOnLambda lets a harmless bundle walk a whole plan, with nobody at the controls.
func TestHealthyBundleReachesEveryoneOnLambda(t *testing.T) {
	percents := []rollout.Percent{10 * rollout.OnePercent, 30 * rollout.OnePercent, 60 * rollout.OnePercent, rollout.Everyone}
	plan := rollout.Plan{OnTimeout: rollout.TimeoutPromote, Alpha: 0.0001} // as in TestHealthyBundleReachesEveryone
	for _, p := range percents {
		plan.Phases = append(plan.Phases, rollout.Phase{Percent: p, Hold: rollout.Hold{Min: hours(4), Max: hours(8)}, MinDevices: 3}) // of 30, even on a busy machine
	}
	c := startCloud(t, cloudlocal.Options{Scale: 1600})
	c.apply(t, rollout.Builtin)
	const devices = 300
	load := c.fleet(t, devices, "--check-every", "12h", "--metrics", "0.1", "--behaviour", "baseline:crash=0.01",
		"--concurrency", "16", "--until", testCandidate+"=0.75")
	id := c.begin(t, plan).ID
	r := c.awaitEnd(t, id, 5*time.Minute)
	if r.State != rollout.Completed {
		t.Fatalf("a healthy bundle ended %s in phase %d: %s", r.State, r.Phase, r.Reason)
	}
	checkWalk(t, c.audit(t, id), percents)
	checkShares(t, c.metrics(t, id), percents)
	report := load.report(t, 5*time.Minute)
	onlyViolations(t, report)
	c.tell(t)
	t.Logf("%d devices, %s simulated in %s: %d requests (%.0f/s), p50 %s, p99 %s, lag %s; %.1f %% run %s", devices,
		report.Simulated.Round(time.Hour), report.Elapsed.Round(time.Second), report.Requests, report.RequestsPerSecond(),
		report.P50, report.P99, report.MaxLag.Round(time.Minute), 100*float64(report.Versions[testCandidate].Running)/devices, testCandidate)
}

// TestCrashingBundleIsStoppedOnLambda sends out a bundle that crashes fifty times as often. Few devices have to show it.
func TestCrashingBundleIsStoppedOnLambda(t *testing.T) {
	c := startCloud(t, cloudlocal.Options{Scale: 1600})
	c.apply(t, rollout.Builtin)
	const devices = 400
	plan := rollout.Plan{Phases: []rollout.Phase{
		{Percent: 10 * rollout.OnePercent, Hold: rollout.Hold{Min: hours(48)}}, {Percent: rollout.Everyone},
	}}
	load := c.fleet(t, devices, "--check-every", "10h", "--concurrency", "16", "--metrics", "0",
		"--behaviour", "baseline:crash=0.01", "--behaviour", testCandidate+":crash=0.5")
	pool := c.Function(resolveFunction)
	eventually(t, 3*time.Minute, "every device has asked once", func() bool { return pool.Stats().Invocations > devices })
	stop := c.awaitStop(t, c.begin(t, plan).ID, rollout.Crash)
	c.replayed(t, stop.rollout.ID)
	report := load.stop(t)
	onlyViolations(t, report, stop.allowed()...)
	stop.tell(t, report)
	c.tell(t)
	const most = 0.175 // ten, and five standard deviations
	if share := report.Versions[testCandidate].ShareOffered; share == 0 || share > most {
		t.Errorf("it reached %.2f %% of devices, want some and at most %.1f %%", 100*share, 100*most)
	}
}

// tell logs what the functions did.
func (c *cloud) tell(t *testing.T) {
	t.Helper()
	for _, f := range c.Template.Functions {
		t.Logf("%s: %+v", f.ID, c.Function(f.ID).Stats())
	}
	t.Logf("event source mapping: %+v", c.Mapping(aggregateFunction).Stats())
}
