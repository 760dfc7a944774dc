package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/cloudlocal"
	"github.com/palier-ota/palier/internal/cloudlocal/guard"
	"github.com/palier-ota/palier/internal/cloudlocal/policy"
	"github.com/palier-ota/palier/internal/cloudlocal/source"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/telemetry"
)

// unseen are the grants that nothing here can use: by function, the actions, and why.
var unseen = map[string]string{
	"logs:CreateLogStream":            "Lambda writes the logs",
	"logs:PutLogEvents":               "Lambda writes the logs",
	"kinesis:DescribeStream":          "Lambda asks before it begins to read",
	"kinesis:DescribeStreamSummary":   "Lambda asks before it begins to read",
	"AggregateFunction s3:ListBucket": "Lambda asks before it writes to the on-failure destination",
}

// TestPoliciesSufficeAndGrantNoMore does everything that the functions are for. Then everything that the template grants
// was used, and startCloud holds that nothing was denied.
func TestPoliciesSufficeAndGrantNoMore(t *testing.T) {
	edge := newToldEdge(t)
	c := startCloud(t, cloudlocal.Options{
		SnapshotTTL: 1, Scale: 600, Parameters: map[string]string{"BatchWindowSeconds": "1", "EdgeUrls": edge.URL},
		Tune: func(m *source.Mapping) { m.MaximumRetryAttempts, m.Bisect = 0, false },
	})
	exercise(t, c)
	edge.check(t, c)
	uses := slices.Concat(c.DynamoDB.Guard.Uses(), c.Kinesis.Guard.Uses(), c.S3.Guard.Uses())
	for _, f := range c.Template.Functions {
		for _, g := range grants(f.Statements) {
			if unseen[g.action] == "" && unseen[strings.TrimSpace(f.ID+" "+g.action+" "+g.key)] == "" && !g.used(uses, f.ID) {
				t.Errorf("%s may %s %s on %s, and did not", f.ID, g.action, g.key, g.resource)
			}
		}
	}
	t.Logf("%d different uses", len(uses))
}

// grant is the smallest part of a statement: one action on one resource, of a table on one kind of partition.
type grant struct{ action, resource, key string }

// grants takes statements apart.
func grants(statements []policy.Statement) (all []grant) {
	for _, s := range statements {
		keys := s.Conditions["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
		if len(keys) == 0 {
			keys = []string{""}
		}
		for _, action := range s.Actions {
			for _, resource := range s.Resources {
				for _, key := range keys {
					all = append(all, grant{action, resource, key})
				}
			}
		}
	}
	return all
}

// used reports whether the function did what is granted. The record has objects and partitions by the first part of their
// name.
func (g grant) used(uses []guard.Use, function string) bool {
	return slices.ContainsFunc(uses, func(u guard.Use) bool {
		where := u.Resource == g.resource || strings.HasSuffix(u.Resource, "/") && strings.HasPrefix(g.resource, u.Resource)
		return u.Caller == function && u.Action == g.action && where && u.LeadingKey == strings.TrimSuffix(g.key, "*")
	})
}

// exercise has operators and devices do everything that they can, with an app whose Snapshot is too large for an item.
func exercise(t *testing.T, c *cloud) {
	t.Helper()
	operator := c.operator()
	do := func(method, path string, in any) {
		t.Helper()
		must(t, operator.send(t.Context(), method, path, in, nil))
	}
	do(http.MethodPost, "/tokens", map[string]string{"name": "ci", "role": "viewer"})
	must(t, operator.get(t.Context(), "/tokens", nil))
	must(t, operator.get(t.Context(), "/apps", nil))
	do(http.MethodDelete, "/tokens/ci", nil)
	c.apply(t, "1.0.0")
	edge := newEdgeClient(t, c)
	edge.fetch(t) // before anybody else looks at the keys, which makes the first one
	do(http.MethodPost, "/keys/next", admin.PrepareBody{})
	beta := map[string]any{"name": "beta", "bundle": "1.0.0", "allow_device_self_set": true}
	do(http.MethodPut, appPath(testApp), map[string]any{"app": testApp, "channels": []any{beta}})
	for i := range 10 {
		do(http.MethodPut, appPath(testApp, "bundles", fmt.Sprintf("2.0.%d", i)), manyFiles(i))
		do(http.MethodPut, appPath(testApp), map[string]any{"app": testApp, "channels": []any{
			map[string]any{"name": fmt.Sprint("big", i), "bundle": fmt.Sprintf("2.0.%d", i)},
		}})
	}
	device := newDevice()
	do(http.MethodPut, appPath(testApp, "devices", device), map[string]any{"device_id": device, "channel": "beta"})
	edge.fetch(t)
	plain := newDevice() // has nothing of its own
	do(http.MethodPut, appPath(testApp, "devices", plain), map[string]any{"device_id": plain})
	hold := rollout.Hold{Min: hours(0.1), Max: hours(0.1)}
	id := c.begin(t, rollout.Plan{OnTimeout: rollout.TimeoutPromote, Phases: []rollout.Phase{
		{Percent: 50 * rollout.OnePercent, Hold: hold, MinDevices: 1}, {Percent: rollout.Everyone, Hold: hold, MinDevices: 1},
	}}).ID
	eventually(t, 2*cloudLimit, "promote completes the rollout", func() bool {
		devicesLive(t, c)
		edge.relay(t)
		return c.rollout(t, id).State == rollout.Completed
	})
	_ = c.metrics(t, id)
	must(t, operator.get(t.Context(), appPath(testApp, "rollouts", id, "verdicts"), nil))
	must(t, operator.get(t.Context(), appPath(testApp, "explain")+"?device_id="+device, nil))
	loseRecords(t, c)
	crowdASlot(t, c)
	do(http.MethodDelete, appPath(testApp, "devices", device), nil)
	do(http.MethodDelete, appPath(testApp), nil)
}

// manyFiles is a bundle whose manifest does not compress.
func manyFiles(seed int) map[string]any {
	var files []any
	for i := range 1000 {
		sum := sha256.Sum256(fmt.Append(nil, seed, i))
		name := hex.EncodeToString(sum[:])
		files = append(files, map[string]string{"file_name": name[:16] + ".js", "file_hash": name, "download_url": "https://cdn.example.com/" + name[16:]})
	}
	return map[string]any{"manifest": files}
}

// devicesLive has devices check, report, agree to a bundle and take that back, and choose channels as old plugins do.
func devicesLive(t *testing.T, c *cloud) {
	t.Helper()
	send := func(method, path, body string) {
		t.Helper()
		if status, _, answer := request(t, method, c.url()+path, []byte(body)); status != http.StatusOK {
			t.Errorf("%s %s %s: %d %s", method, path, body, status, answer)
		}
	}
	for range 5 {
		whole, chooser, asked, unsure := newDevice(), newDevice(), newDevice(), newDevice()
		send(http.MethodPost, "/updates", string(check(whole, "1.0.0")))
		send(http.MethodPost, "/stats", string(report(whole)))
		send(http.MethodPost, "/stats", strings.Replace(string(report(whole)), "app_crash", "update_fail", 1))
		old := strings.Replace(string(check(chooser, "1.0.0")), "8.51.23", "6.14.26", 1) // leaves its channel to the server
		send(http.MethodPost, "/channel_self", strings.TrimSuffix(old, "}")+`,"channel":"beta"}`)
		send(http.MethodPost, "/updates", old)
		send(http.MethodDelete, "/channel_self", old)
		send(http.MethodPost, "/telemetry", consent(asked, true))
		send(http.MethodPost, "/telemetry", consent(asked, false))
		send(http.MethodPost, "/telemetry", consent(unsure, true, false))
	}
}

// consent is the body of a telemetry call that says what the user answered when asked to update.
func consent(device string, answers ...bool) string {
	var events []string
	for _, granted := range answers {
		events = append(events, fmt.Sprintf(`{"type":"consent","bundle":%q,"granted":%t}`, testCandidate, granted))
	}
	return fmt.Sprintf(`{"app_id":%q,"device_id":%q,"platform":"android","version_name":"1.0.0","version_build":"1.0.0","plugin_version":"8.51.23","events":[%s]}`,
		testApp, device, strings.Join(events, ","))
}

// loseRecords puts a record on the stream that cannot be read, and has Lambda give up on another one.
func loseRecords(t *testing.T, c *cloud) {
	t.Helper()
	m, log := c.Mapping(aggregateFunction), c.stream(t)
	records := recordedLog(t, 200) // devices turn out to have been there before: rows of tallies go
	done := int(m.Stats().Done)
	appendLog(t, log, records[100:])
	c.counted(t, done+len(records)-100)
	appendLog(t, log, append(records[:100], stream.Record{Key: 1, Data: []byte("{")}))
	c.counted(t, done+len(records)+1)
	c.DynamoDB.Guard.SetFaults(faultsOf(aggregateFunction, guard.Faults{Throttle: 1}))
	must(t, log.Append(t.Context(), recordedLog(t, 8)))
	eventually(t, cloudLimit, "Lambda gives up", func() bool { return m.Stats().Discarded > 0 })
	c.DynamoDB.Guard.SetFaults(guard.Faults{})
}

// crowdASlot has so many devices of one slot check that the aggregator compacts what it keeps of them. The function gets
// them from here: the stream's server would take minutes.
func crowdASlot(t *testing.T, c *cloud) {
	t.Helper()
	const devices, batch = 20_000, 5000
	for first := 0; first < devices; first += batch {
		var event events.KinesisEvent
		for i := range batch {
			device := uint64(first+i+1) << 40
			data, err := telemetry.Append(nil, telemetry.Event{App: testApp, Device: device, Time: int64(first+i) * 60_000, Exposures: []telemetry.Exposure{
				{Rollout: recorded[0], Arm: rollout.ArmControl},
			}})
			must(t, err)
			event.Records = append(event.Records, events.KinesisEventRecord{
				EventID: fmt.Sprint("shardId-000000000000:", first+i+1),
				Kinesis: events.KinesisRecord{SequenceNumber: fmt.Sprint(first + i + 1), Data: data},
			})
		}
		payload, err := json.Marshal(event)
		must(t, err)
		result, err := c.Function(aggregateFunction).Invoke(t.Context(), payload)
		must(t, err)
		if result.FunctionError != "" || !strings.Contains(string(result.Payload), `"batchItemFailures":[]`) {
			t.Fatalf("%s %s", result.FunctionError, result.Payload)
		}
	}
}
