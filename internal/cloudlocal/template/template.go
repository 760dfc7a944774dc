// Package template reads Palier's template.yaml the way CloudFormation would, as far as running it on one machine needs:
// parameters, conditions and intrinsic functions are carried out, the functions come out with their environment, events
// and permissions, and the table, the stream and the buckets with what it takes to create them. So what runs locally is
// what the template says, and not somebody's memory of it.
//
// Resources get the names and ARNs of a made-up account (Account, Region), built from the stack's name and their logical
// ids. A property of a function or an event that is not known here is an error: otherwise it would be missing from the
// local run and nobody would notice. Resources that have no local counterpart (alarms, CloudFront) are not looked at.
//
// goformation does this for every resource type of AWS, with some hundred thousand generated lines; six types are
// needed here.
package template

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/palier-ota/palier/internal/cloudlocal/policy"
)

// DefaultStack is the stack's name when Options names none.
const DefaultStack = "palier-local"

// Options is what a deployment would be given beside the template.
type Options struct {
	Stack      string            // DefaultStack if empty
	Parameters map[string]string // by name; the others have their defaults
}

// Template is the part of the template that runs locally.
type Template struct {
	Functions []Function // by logical id
	Table     Table
	Stream    Stream
	Buckets   []Bucket // by logical id
	API       API

	scope *scope
}

// Function is one Lambda function.
type Function struct {
	ID           string // logical id, such as "ResolveFunction"
	Name         string // physical name, which is what Ref gives
	ARN          string
	RoleARN      string
	Program      string // folder of functions/ it is built from: its ID in lower case without "function"
	Runtime      string
	Handler      string
	Architecture string
	Environment  map[string]string
	Timeout      time.Duration
	MemoryMB     int
	Concurrency  int                // reserved; 0: none
	LogFilter    string             // the least level of its lines that Lambda keeps
	Statements   []policy.Statement // of its role

	Routes   []Route       // of the HTTP API
	Schedule *Schedule     // nil: none
	Stream   *StreamSource // nil: none
}

// Route sends requests of an HTTP API to a function.
type Route struct {
	Method string // "ANY" is every method
	Path   string // as API Gateway writes it: /a/{name}, /a/{rest+}; "$default" is what no other route takes
}

// Schedule invokes a function at a rate. The scheduler does not wait for the function: what becomes of a tick that failed
// is the function's EventInvokeConfig.
type Schedule struct {
	Every      time.Duration
	MaxRetries int           // of one tick, after a function error
	MaxAge     time.Duration // of a tick that was throttled or failed, after which it is dropped
}

// StreamSource is an event source mapping of a stream.
type StreamSource struct {
	ARN                string // of the stream
	StartingPosition   string
	BatchSize          int
	Window             time.Duration
	Parallelization    int
	MaxRetries         int           // -1: no bound
	MaxAge             time.Duration // -1 s: no bound
	Bisect             bool
	ReportItemFailures bool
	OnFailure          string // ARN; empty: none
}

// Table is the DynamoDB table.
type Table struct {
	Name         string
	ARN          string
	Create       *dynamodb.CreateTableInput
	TTLAttribute string
}

// Stream is the Kinesis stream.
type Stream struct {
	Name      string
	ARN       string
	OnDemand  bool
	Shards    int // of a provisioned stream
	Retention time.Duration
}

// Bucket is an S3 bucket.
type Bucket struct{ ID, Name, ARN string }

// API is the HTTP API, whose throttle holds for all its routes together.
type API struct {
	ID    string
	Rate  float64 // requests per second
	Burst int
}

// Read reads the template at path.
func Read(path string, o Options) (*Template, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the template: %w", err)
	}
	t, err := Parse(text, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// Parse reads a template. It fails when the template says something about a function, an event, the table, the stream or
// a bucket that is not understood here.
func Parse(text []byte, o Options) (*Template, error) {
	scope, globals, err := open(text, o)
	if err != nil {
		return nil, err
	}
	t := &Template{scope: scope}
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(scope.resources)) {
		if err := t.take(id, globals); err != nil {
			errs = append(errs, fmt.Errorf("resource %s: %w", id, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if t.Table.Name == "" || t.Stream.Name == "" || t.API.ID == "" || len(t.Functions) == 0 {
		return nil, errors.New("a table, a stream, an HTTP API and functions are wanted, and not all of them are there")
	}
	return t, nil
}

// open reads the template's sections and settles its parameters and conditions.
func open(text []byte, o Options) (*scope, map[string]value, error) {
	document, err := parseYAML(text)
	if err != nil {
		return nil, nil, err
	}
	if o.Stack == "" {
		o.Stack = DefaultStack
	}
	section := func(name string) map[string]value {
		m, _ := document[name].(map[string]value)
		return m
	}
	s := &scope{
		mappings: section("Mappings"), conditions: section("Conditions"), resources: map[string]map[string]value{},
		names: names{o.Stack}, pseudo: pseudo(o.Stack),
	}
	if s.parameters, err = settle(section("Parameters"), o.Parameters); err != nil {
		return nil, nil, err
	}
	for id, v := range section("Resources") {
		resource, ok := v.(map[string]value)
		if !ok {
			return nil, nil, fmt.Errorf("resource %s is no mapping", id)
		}
		if there, err := s.exists(resource); err != nil {
			return nil, nil, fmt.Errorf("resource %s: %w", id, err)
		} else if there {
			s.resources[id] = resource
		}
	}
	return s, section("Globals"), nil
}

// exists reports whether the condition of a resource holds.
func (s *scope) exists(resource map[string]value) (bool, error) {
	name, ok := resource["Condition"]
	if !ok {
		return true, nil
	}
	holds, err := s.condition(name)
	return holds == true, err
}

func pseudo(stack string) map[string]value {
	return map[string]value{
		"AWS::AccountId": Account, "AWS::Region": Region, "AWS::Partition": partition, "AWS::URLSuffix": "amazonaws.com",
		"AWS::StackName": stack,
		"AWS::StackId":   "arn:" + partition + ":cloudformation:" + Region + ":" + Account + ":stack/" + stack + "/00000000-local",
	}
}

// take adds a resource to t if it is of a kind that runs locally.
func (t *Template) take(id string, globals map[string]value) error {
	kind := text(t.scope.resources[id]["Type"])
	switch kind {
	case "AWS::Serverless::Function":
		f, err := t.function(id, globals)
		t.Functions = append(t.Functions, f)
		return err
	case "AWS::DynamoDB::Table":
		return t.takeTable(id)
	case "AWS::Kinesis::Stream":
		return t.takeStream(id)
	case "AWS::S3::Bucket":
		name := t.scope.names.bucket(id)
		t.Buckets = append(t.Buckets, Bucket{ID: id, Name: name, ARN: "arn:" + partition + ":s3:::" + name})
	case "AWS::Serverless::HttpApi":
		return t.takeAPI(id)
	case "AWS::Lambda::Function", "AWS::Lambda::EventSourceMapping", "AWS::Scheduler::Schedule":
		return fmt.Errorf("%s is not run locally: write it the way of AWS::Serverless::Function", kind)
	}
	return nil
}

// properties evaluates a resource's properties.
func (t *Template) properties(id string) (map[string]value, error) {
	m, _ := t.scope.resources[id]["Properties"].(map[string]value)
	return t.scope.evalMap(m)
}

// Function returns the function with the logical id.
func (t *Template) Function(id string) (Function, bool) {
	i := slices.IndexFunc(t.Functions, func(f Function) bool { return f.ID == id })
	if i < 0 {
		return Function{}, false
	}
	return t.Functions[i], true
}

// Bucket returns the bucket with the logical id.
func (t *Template) Bucket(id string) (Bucket, bool) {
	i := slices.IndexFunc(t.Buckets, func(b Bucket) bool { return b.ID == id })
	if i < 0 {
		return Bucket{}, false
	}
	return t.Buckets[i], true
}

// program is the rule by which a function is built from a folder; the Makefile's build-%Function has the same.
func program(id string) string { return strings.ToLower(strings.TrimSuffix(id, "Function")) }
