package template

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// functionProperties are those of AWS::Serverless::Function.
type functionProperties struct {
	Runtime                      string
	Handler                      string
	Architectures                []string
	Role                         string
	Timeout                      whole
	MemorySize                   whole
	ReservedConcurrentExecutions whole
	Environment                  struct{ Variables map[string]scalar }
	Events                       map[string]eventProperties
	EventInvokeConfig            *asynchronous
	LoggingConfig                logging

	CodeUri     any // the program comes from the function's id, as in the Makefile
	Description any
	Tags        any
}

// logging says where a function's lines go, and which of them.
type logging struct{ LogGroup, LogFormat, SystemLogLevel, ApplicationLogLevel string }

// asynchronous says what becomes of an invocation that nobody waits for.
type asynchronous struct{ MaximumRetryAttempts, MaximumEventAgeInSeconds whole }

// eventProperties are what invokes a function.
type eventProperties struct {
	Type       string
	Properties map[string]value
}

// function reads one function with the globals that hold for it.
func (t *Template) function(id string, globals map[string]value) (Function, error) {
	own, err := t.properties(id)
	if err != nil {
		return Function{}, err
	}
	common, _ := globals["Function"].(map[string]value)
	if common, err = t.scope.evalMap(common); err != nil {
		return Function{}, fmt.Errorf("globals: %w", err)
	}
	var p functionProperties
	if err := decode(merge(common, own), &p); err != nil {
		return Function{}, err
	}
	f := Function{
		ID: id, Name: t.scope.names.physical(id), ARN: t.scope.names.arn("lambda", "function:"+t.scope.names.physical(id)),
		RoleARN: p.Role, Program: program(id), Runtime: p.Runtime, Handler: p.Handler,
		Environment: map[string]string{}, Timeout: seconds(p.Timeout), MemoryMB: int(p.MemorySize),
		Concurrency: int(p.ReservedConcurrentExecutions), LogFilter: p.LoggingConfig.ApplicationLogLevel,
	}
	if len(p.Architectures) == 1 {
		f.Architecture = p.Architectures[0]
	}
	for name, v := range p.Environment.Variables {
		f.Environment[name] = string(v)
	}
	if f.Statements, err = t.statements(p.Role); err != nil {
		return f, err
	}
	for _, name := range slices.Sorted(maps.Keys(p.Events)) {
		if err := t.event(&f, p.Events[name]); err != nil {
			return f, fmt.Errorf("event %s: %w", name, err)
		}
	}
	if f.Schedule != nil && p.EventInvokeConfig != nil {
		f.Schedule.MaxRetries = int(p.EventInvokeConfig.MaximumRetryAttempts)
		f.Schedule.MaxAge = seconds(p.EventInvokeConfig.MaximumEventAgeInSeconds)
	}
	return f, nil
}

// merge lays own over common, as SAM does with its globals: mappings are merged, everything else is replaced.
func merge(common, own map[string]value) map[string]value {
	out := maps.Clone(common)
	if out == nil {
		out = map[string]value{}
	}
	for key, v := range own {
		below, isMap := out[key].(map[string]value)
		above, wantsMap := v.(map[string]value)
		if isMap && wantsMap {
			v = merge(below, above)
		}
		out[key] = v
	}
	return out
}

func (t *Template) event(f *Function, e eventProperties) error {
	switch e.Type {
	case "HttpApi":
		return t.route(f, e.Properties)
	case "ScheduleV2":
		return f.schedule(e.Properties)
	case "Kinesis":
		return f.stream(e.Properties)
	}
	return fmt.Errorf("type %q is not run locally", e.Type)
}

func (t *Template) route(f *Function, properties map[string]value) error {
	var p struct{ ApiId, Method, Path string }
	if err := decode(properties, &p); err != nil {
		return err
	}
	if p.Path == "" && p.Method == "" {
		p.Path, p.Method = "$default", "ANY"
	}
	f.Routes = append(f.Routes, Route{Method: strings.ToUpper(p.Method), Path: p.Path})
	return nil
}

// Lambda's defaults of asynchronous invocations.
const (
	defaultRetries  = 2
	defaultEventAge = 6 * time.Hour
)

func (f *Function) schedule(properties map[string]value) error {
	var p struct {
		ScheduleExpression string

		Description, OmitName, RoleArn any
		RetryPolicy, DeadLetterConfig  any // of deliveries that Lambda does not accept
	}
	if err := decode(properties, &p); err != nil {
		return err
	}
	every, err := rate(p.ScheduleExpression)
	if err != nil {
		return err
	}
	if f.Schedule != nil {
		return errors.New("a second schedule of one function is not run locally")
	}
	f.Schedule = &Schedule{Every: every, MaxRetries: defaultRetries, MaxAge: defaultEventAge}
	return nil
}

// rate reads a schedule expression such as "rate(5 minutes)".
func rate(expression string) (time.Duration, error) {
	var n int
	var unit string
	if _, err := fmt.Sscanf(expression, "rate(%d %s", &n, &unit); err == nil && n > 0 {
		switch strings.TrimSuffix(unit, ")") {
		case "minute", "minutes":
			return time.Duration(n) * time.Minute, nil
		case "hour", "hours":
			return time.Duration(n) * time.Hour, nil
		}
	}
	return 0, fmt.Errorf("schedule %q: only rate(n minutes) and rate(n hours) are understood", expression)
}

// Lambda's defaults of an event source mapping of Kinesis.
const (
	defaultBatchSize = 100
	unbounded        = -1
)

func (f *Function) stream(properties map[string]value) error {
	p := struct {
		Stream, StartingPosition       string
		BatchSize                      whole
		MaximumBatchingWindowInSeconds whole
		ParallelizationFactor          whole
		MaximumRetryAttempts           whole
		MaximumRecordAgeInSeconds      whole
		BisectBatchOnFunctionError     flag
		FunctionResponseTypes          []string
		DestinationConfig              struct{ OnFailure struct{ Destination string } }

		MetricsConfig any
	}{
		BatchSize: defaultBatchSize, ParallelizationFactor: 1, MaximumRetryAttempts: unbounded, MaximumRecordAgeInSeconds: unbounded,
	}
	if err := decode(properties, &p); err != nil {
		return err
	}
	if f.Stream != nil {
		return errors.New("a second stream of one function is not run locally")
	}
	f.Stream = &StreamSource{
		ARN: p.Stream, StartingPosition: p.StartingPosition, BatchSize: int(p.BatchSize),
		Window: seconds(p.MaximumBatchingWindowInSeconds), Parallelization: int(p.ParallelizationFactor),
		MaxRetries: int(p.MaximumRetryAttempts), MaxAge: seconds(p.MaximumRecordAgeInSeconds),
		Bisect: bool(p.BisectBatchOnFunctionError), ReportItemFailures: slices.Contains(p.FunctionResponseTypes, "ReportBatchItemFailures"),
		OnFailure: p.DestinationConfig.OnFailure.Destination,
	}
	return nil
}

func seconds(n whole) time.Duration { return time.Duration(n) * time.Second }
