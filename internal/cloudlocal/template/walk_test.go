package template

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/cloudlocal/policy"
)

// root is the repository's.
const root = "../../.."

// ours reads Palier's own template.
func ours(t *testing.T, o Options) *Template {
	t.Helper()
	out, err := Read(filepath.Join(root, "template.yaml"), o)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWalkFunctions(t *testing.T) {
	tmpl := ours(t, Options{})
	for _, f := range tmpl.Functions {
		if f.Runtime != "provided.al2023" || f.Handler != "bootstrap" || f.Architecture != "arm64" {
			t.Errorf("%s runs %s on %s with %s", f.ID, f.Handler, f.Runtime, f.Architecture)
		}
		if _, err := os.Stat(filepath.Join(root, "functions", f.Program, "main.go")); err != nil {
			t.Errorf("%s: no program: %v", f.ID, err)
		}
		if len(f.Routes) > 0 && f.Timeout >= 30*time.Second {
			t.Errorf("%s may take %s, but API Gateway gives up after 30 s", f.ID, f.Timeout)
		}
	}
	for _, program := range []string{"resolve", "ingest", "aggregate", "promote", "admin", "relay"} {
		if !slices.ContainsFunc(tmpl.Functions, func(f Function) bool { return f.Program == program }) {
			t.Errorf("nothing runs functions/%s", program)
		}
	}
}

// TestWalkLogLevel holds Lambda's own filter against the level: debug gets through, and metrics, which count as INFO, always.
func TestWalkLogLevel(t *testing.T) {
	for level, filter := range map[string]string{"debug": "DEBUG", "info": "INFO", "warn": "INFO", "error": "INFO"} {
		for _, f := range ours(t, Options{Parameters: map[string]string{"LogLevel": level}}).Functions {
			if f.LogFilter != filter || f.Environment["PALIER_LOG_LEVEL"] != level {
				t.Errorf("LogLevel %s: %s logs %s, of which Lambda keeps %q and up, want %s", level, f.ID, f.Environment["PALIER_LOG_LEVEL"], f.LogFilter, filter)
			}
		}
	}
}

// TestWalkStream holds the mapping against what the aggregator builds on.
func TestWalkStream(t *testing.T) {
	tmpl := ours(t, Options{})
	f, _ := tmpl.Function("AggregateFunction")
	state, _ := tmpl.Bucket("StateBucket")
	s := f.Stream
	switch {
	case s == nil || s.ARN != tmpl.Stream.ARN:
		t.Fatal("nothing reads the stream")
	case !s.ReportItemFailures:
		t.Error("the function answers with the records that failed, which nobody would read: a lost batch")
	case s.OnFailure != state.ARN:
		t.Errorf("batches that are given up go to %q, where `palier dead-letters` does not look", s.OnFailure)
	case s.StartingPosition != "TRIM_HORIZON":
		t.Errorf("reading starts at %s and leaves out what came before", s.StartingPosition)
	case !s.Bisect, s.MaxAge <= 0:
		t.Error("a batch that always fails would hold up its shard for ever")
	case s.MaxRetries >= 0:
		t.Error("an outage may use up the retries in minutes: their age is to bound them")
	case s.MaxAge >= tmpl.Stream.Retention:
		t.Errorf("batches are given up after %s, when the stream has forgotten them (%s)", s.MaxAge, tmpl.Stream.Retention)
	case s.Parallelization != 1:
		t.Error("two batches of one shard at once would be two writers of one slot")
	}
}

func TestWalkSchedule(t *testing.T) {
	f, _ := ours(t, Options{}).Function("PromoteFunction")
	if f.Schedule == nil || f.Schedule.Every != time.Minute {
		t.Fatalf("schedule is %+v, want every minute", f.Schedule)
	}
	if f.Schedule.MaxRetries != 0 || f.Schedule.MaxAge > time.Minute {
		t.Errorf("late ticks pile up: %+v", f.Schedule)
	}
	if f.Concurrency != 1 {
		t.Errorf("%d ticks at once", f.Concurrency)
	}
}

// The partitions of the table, as internal/store writes them.
var partitionName = regexp.MustCompile(`"([A-Z]+#?)"`)

// TestWalkPolicies shows that policies name actions and resources one by one, and in the table only partitions that exist.
func TestWalkPolicies(t *testing.T) {
	tmpl := ours(t, Options{})
	shapes := inSource(t, partitionName, "internal/store/*.go")
	for _, f := range tmpl.Functions {
		for _, s := range f.Statements {
			if s.Effect != policy.Allow {
				t.Errorf("%s: effect %q", f.ID, s.Effect)
			}
			for _, action := range s.Actions {
				if strings.ContainsAny(action, "*?") {
					t.Errorf("%s: action %s says more than one action", f.ID, action)
				}
				for _, resource := range s.Resources {
					if !fits(tmpl, action, resource) {
						t.Errorf("%s: %s on %s: no such resource in the template, or too much of it", f.ID, action, resource)
					}
				}
				if strings.HasPrefix(action, "dynamodb:") {
					checkKeys(t, f.ID, s, shapes)
				}
			}
		}
	}
}

// fits reports whether an action is granted on one resource of the template and, of a bucket, on one prefix.
func fits(tmpl *Template, action, resource string) bool {
	switch service, _, _ := strings.Cut(action, ":"); service {
	case "dynamodb":
		return resource == tmpl.Table.ARN
	case "kinesis":
		return resource == tmpl.Stream.ARN
	case "logs":
		return regexp.MustCompile(`^arn:aws:logs:[^*]*:\*$`).MatchString(resource) // the streams of one group
	case "s3":
		return slices.ContainsFunc(tmpl.Buckets, func(b Bucket) bool {
			path, inside := strings.CutPrefix(resource, b.ARN+"/")
			prefix, ok := strings.CutSuffix(path, "/*")
			if action == "s3:ListBucket" {
				return resource == b.ARN
			}
			return inside && ok && prefix != "" && !strings.ContainsAny(prefix, "*?")
		})
	}
	return false
}

// checkKeys demands that a statement on the table is bound to partitions that internal/store knows.
func checkKeys(t *testing.T, id string, s policy.Statement, shapes []string) {
	t.Helper()
	keys := s.Conditions["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
	if len(s.Conditions) != 1 || len(keys) == 0 {
		t.Errorf("%s: %v on the whole table", id, s.Actions)
	}
	for _, key := range keys {
		shape := strings.TrimSuffix(key, "*")
		if shape != key && !strings.HasSuffix(shape, "#") || !slices.Contains(shapes, shape) {
			t.Errorf("%s: %v on partitions %q, which internal/store does not write", id, s.Actions, key)
		}
	}
}

// TestWalkPoliciesMatchTheEnvironment shows that a function may use what it is told of, and is told of what it may use.
// What Lambda uses in its place, the stream it reads and the bucket for batches it gives up, it need not know.
func TestWalkPoliciesMatchTheEnvironment(t *testing.T) {
	tmpl := ours(t, Options{})
	known := map[string]string{tmpl.Table.Name: tmpl.Table.ARN, tmpl.Stream.Name: tmpl.Stream.ARN}
	for _, b := range tmpl.Buckets {
		known[b.Name] = b.ARN
	}
	for _, f := range tmpl.Functions {
		told, granted := map[string]bool{}, map[string]bool{}
		for _, v := range f.Environment {
			if arn, ok := known[v]; ok {
				told[arn] = true
			}
		}
		for _, s := range f.Statements {
			for _, resource := range s.Resources {
				arn, _, _ := strings.Cut(resource, "/*")
				if strings.HasPrefix(arn, "arn:aws:s3:") {
					arn, _, _ = strings.Cut(arn, "/")
				}
				if !strings.HasPrefix(arn, "arn:aws:logs:") {
					granted[arn] = true
				}
			}
		}
		if f.Stream != nil {
			delete(granted, f.Stream.ARN)
		}
		if !maps.Equal(told, granted) {
			t.Errorf("%s: its environment names %v, its policies %v", f.ID, slices.Sorted(maps.Keys(told)), slices.Sorted(maps.Keys(granted)))
		}
	}
}

// nameProperties are those that give a resource a physical name.
var nameProperties = []string{
	"FunctionName", "TableName", "BucketName", "RoleName", "LogGroupName", "QueueName", "TopicName", "AlarmName", "DashboardName", "Name",
}

// TestWalkTwoStacks shows that a second environment can live beside the first.
func TestWalkTwoStacks(t *testing.T) {
	named := 0
	for _, file := range []string{"template.yaml", "infra/observability.yaml"} {
		a, b := scopeOf(t, file, "one"), scopeOf(t, file, "two")
		for id, resource := range a.resources {
			properties, _ := resource["Properties"].(map[string]value)
			if inner, ok := properties["OriginAccessControlConfig"].(map[string]value); ok {
				properties = inner
			}
			for _, name := range nameProperties {
				if _, ok := properties[name]; !ok {
					continue
				}
				named++
				first, err := a.eval(properties[name])
				second, err2 := b.eval(properties[name])
				if err != nil || err2 != nil || first == second {
					t.Errorf("%s: %s is %v in one stack and %v in another (%v, %v)", id, name, first, second, err, err2)
				}
			}
			for event, e := range eventsOf(properties) {
				if e["Type"] == "ScheduleV2" && e["Properties"].(map[string]value)["OmitName"] != true {
					t.Errorf("%s: SAM names the schedule %s the same in every stack", id, event)
				}
			}
		}
	}
	if named < 6 {
		t.Errorf("only %d names found: the check saw too little to mean anything", named)
	}
}

func eventsOf(properties map[string]value) map[string]map[string]value {
	out := map[string]map[string]value{}
	events, _ := properties["Events"].(map[string]value)
	for name, e := range events {
		out[name], _ = e.(map[string]value)
	}
	return out
}

// scopeOf opens a template of ours; parameters without a default are filled with something.
func scopeOf(t *testing.T, file, stack string) *scope {
	t.Helper()
	body, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	document, err := parseYAML(body)
	if err != nil {
		t.Fatal(err)
	}
	given := map[string]string{}
	parameters, _ := document["Parameters"].(map[string]value)
	for name, p := range parameters {
		if _, ok := p.(map[string]value)["Default"]; !ok {
			given[name] = "a-" + name
		}
	}
	s, _, err := open(body, Options{Stack: stack, Parameters: given})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestWalkOutputs shows that the plugin's addresses come out ready to use.
func TestWalkOutputs(t *testing.T) {
	for _, c := range []struct {
		name       string
		parameters map[string]string
		host       string
	}{
		{"API Gateway's address", nil, "https://st-HttpApi.execute-api.us-east-1.amazonaws.com"},
		{
			"an address of one's own",
			map[string]string{"DomainName": "updates.example.com", "CertificateArn": "arn"},
			"https://updates.example.com",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			body, err := os.ReadFile(filepath.Join(root, "template.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			s, _, err := open(body, Options{Stack: "st", Parameters: c.parameters})
			if err != nil {
				t.Fatal(err)
			}
			document, err := parseYAML(body)
			if err != nil {
				t.Fatal(err)
			}
			for output, path := range map[string]string{
				"UpdateUrl": "/updates", "StatsUrl": "/stats", "ChannelUrl": "/channel_self", "OperatorUrl": "",
			} {
				v, err := s.eval(document["Outputs"].(map[string]value)[output].(map[string]value)["Value"])
				if err != nil || v != c.host+path {
					t.Errorf("%s is %v (%v), want %s", output, v, err, c.host+path)
				}
			}
		})
	}
}

// palierMetric is a metric of our own in an alarm.
var palierMetric = regexp.MustCompile(`Namespace: Palier, MetricName: (\w+), Dimensions: \[\{Name: (\w+),`)

// TestWalkObservability shows that the dashboard is JSON and shows every alarm, and that the metrics of our own which
// alarms look at are counted.
func TestWalkObservability(t *testing.T) {
	const file = "infra/observability.yaml"
	s := scopeOf(t, file, "st")
	body, err := s.eval(s.resources["Board"]["Properties"].(map[string]value)["DashboardBody"])
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid([]byte(text(body))) {
		t.Errorf("the dashboard is no JSON:\n%v", body)
	}
	alarms := 0
	for id, resource := range s.resources {
		if resource["Type"] != "AWS::CloudWatch::Alarm" {
			continue
		}
		alarms++
		if arn, err := s.getAtt([]value{id, "Arn"}); err != nil || !strings.Contains(text(body), `"`+text(arn)+`"`) {
			t.Errorf("alarm %s is not on the dashboard (%v)", id, err)
		}
	}
	if alarms < 8 {
		t.Errorf("only %d alarms found", alarms)
	}
	source, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	counted := inSource(t, regexp.MustCompile(`"(\w+)"`), "functions/*/handler.go")
	dimensions := inSource(t, regexp.MustCompile(`"Dimensions":\[\["(\w+)"\]\]`), "internal/cloud/metrics.go")
	metrics := palierMetric.FindAllSubmatch(source, -1)
	if len(metrics) == 0 {
		t.Error("no alarm looks at a metric of our own")
	}
	for _, m := range metrics {
		if !slices.Contains(counted, string(m[1])) {
			t.Errorf("no function counts %s", m[1])
		}
		if !slices.Contains(dimensions, string(m[2])) {
			t.Errorf("%s is counted by %v, and the alarm looks for %s", m[1], dimensions, m[2])
		}
	}
}

// inSource returns what the first group of a pattern finds in Go files, tests apart.
func inSource(t *testing.T, pattern *regexp.Regexp, globs ...string) []string {
	t.Helper()
	found := map[string]bool{}
	for _, glob := range globs {
		files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(glob)))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files %s (%v)", glob, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range pattern.FindAllStringSubmatch(string(body), -1) {
				found[m[1]] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}
