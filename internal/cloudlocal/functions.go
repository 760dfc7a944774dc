package cloudlocal

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/palier-ota/palier/internal/cloudlocal/gateway"
	"github.com/palier-ota/palier/internal/cloudlocal/runtimeapi"
	"github.com/palier-ota/palier/internal/cloudlocal/source"
	"github.com/palier-ota/palier/internal/cloudlocal/template"
)

const (
	defaultConcurrency = 8                // of a function without a reservation: enough to keep a laptop busy
	patience           = 20 * time.Second // for one of these places, where Lambda would start another sandbox
	snapshotFloor      = time.Second      // of real time, however fast the clock runs
)

// built reports which functions still have to be built.
func (c *Cloud) built() error {
	for _, f := range c.Template.Functions {
		if _, err := os.Stat(c.bootstrap(f)); err != nil {
			return fmt.Errorf("function %s: %w [make functions builds them; --functions says where they are]", f.ID, err)
		}
	}
	return nil
}

func (c *Cloud) bootstrap(f template.Function) string {
	return filepath.Join(c.options.Functions, f.Program, "bootstrap")
}

// startFunctions makes a pool for every function. No process starts before it is invoked.
func (c *Cloud) startFunctions() error {
	for _, f := range c.Template.Functions {
		pool, err := runtimeapi.Start(c.function(f))
		if err != nil {
			return err
		}
		c.pools[f.ID] = pool
	}
	return nil
}

// function is how a function of the template is run.
func (c *Cloud) function(f template.Function) runtimeapi.Function {
	run := runtimeapi.Function{
		Name: f.Name, Bootstrap: c.bootstrap(f), Env: c.environment(f),
		Timeout: f.Timeout, MemoryMB: f.MemoryMB, Concurrency: cmp.Or(c.options.Concurrency, defaultConcurrency), Wait: patience,
		Output: c.options.Output, Log: c.options.Log,
	}
	if f.Concurrency > 0 { // reserved: as on Lambda, whoever comes too many is refused
		run.Concurrency, run.Wait = f.Concurrency, 0
	}
	return run
}

// environment is the template's, and what Lambda adds: region, credentials, and here also where the engines are and what
// time it is. The access key is the function's id, by which the guards know who asks.
func (c *Cloud) environment(f template.Function) map[string]string {
	env := maps.Clone(f.Environment)
	maps.Copy(env, map[string]string{
		"AWS_REGION":                template.Region,
		"AWS_DEFAULT_REGION":        template.Region,
		"AWS_ACCESS_KEY_ID":         f.ID,
		"AWS_SECRET_ACCESS_KEY":     c.secrets[f.ID],
		"AWS_ENDPOINT_URL_DYNAMODB": c.DynamoDB.Guard.URL,
		"AWS_ENDPOINT_URL_KINESIS":  c.Kinesis.Guard.URL,
		"AWS_ENDPOINT_URL_S3":       c.S3.Guard.URL,
	})
	if clock := c.Clock.String(); clock != "" {
		env["PALIER_CLOCK"] = clock
	}
	const ttl = "PALIER_SNAPSHOT_TTL"
	if own, ok := env[ttl]; ok {
		env[ttl] = c.snapshotTTL(own)
	}
	return env
}

// snapshotTTL is how long a Snapshot answers: the clock that measures it may run so fast that the template's time would
// be over before the next request.
func (c *Cloud) snapshotTTL(own string) string {
	if c.options.SnapshotTTL > 0 {
		return c.options.SnapshotTTL.String()
	}
	d, err := time.ParseDuration(own)
	if err != nil {
		return own // the function will say what is wrong with it
	}
	return max(d, time.Duration(float64(snapshotFloor)*c.Clock.Scale())).String()
}

// api is the HTTP API in front of the functions.
func (c *Cloud) api() (*gateway.Gateway, error) {
	var routes []gateway.Route
	for _, f := range c.Template.Functions {
		invoke := func(ctx context.Context, event []byte) ([]byte, string, error) {
			result, err := c.pools[f.ID].Invoke(ctx, event)
			return result.Payload, result.FunctionError, err
		}
		for _, r := range f.Routes {
			routes = append(routes, gateway.Route{Method: r.Method, Path: r.Path, Invoke: invoke})
		}
	}
	return gateway.New(routes, gateway.Options{
		Rate: c.Template.API.Rate, Burst: c.Template.API.Burst, Now: time.Now, Log: c.options.Log,
	})
}

// mapping is the event source mapping of a function. It acts with the function's role, so through the guards.
func (c *Cloud) mapping(f template.Function) (*source.Mapping, error) {
	s := f.Stream
	if s.Parallelization > 1 {
		return nil, fmt.Errorf("function %s: a parallelization factor is not emulated", f.ID)
	}
	m := &source.Mapping{
		ID: runtimeapi.NewID(), Region: template.Region, StreamARN: s.ARN, FunctionARN: f.ARN, RoleARN: f.RoleARN, NewID: runtimeapi.NewID,
		Stream: c.kinesisAs(f.ID), From: source.Position(s.StartingPosition), BatchSize: s.BatchSize,
		BatchingWindow: c.shortened(s.Window), MaximumRetryAttempts: s.MaxRetries, MaximumRecordAge: max(0, s.MaxAge),
		Bisect: s.Bisect, ReportItemFailures: s.ReportItemFailures, Poll: streamPoll, Log: c.options.Log,
		Invoke: func(ctx context.Context, event []byte) (source.Reply, error) {
			result, err := c.pools[f.ID].Invoke(ctx, event)
			return source.Reply{Payload: result.Payload, FunctionError: result.FunctionError}, err
		},
	}
	if c.options.Tune != nil {
		c.options.Tune(m)
	}
	if s.OnFailure == "" {
		return m, nil
	}
	bucket, err := c.bucketOf(s.OnFailure)
	if err != nil {
		return nil, fmt.Errorf("on-failure destination of %s: %w", f.ID, err)
	}
	client := c.s3As(f.ID)
	m.Discard = func(ctx context.Context, key string, document []byte) error {
		_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(document)})
		return err
	}
	return m, nil
}

// bucketOf returns the name of the bucket with the ARN.
func (c *Cloud) bucketOf(arn string) (string, error) {
	for _, b := range c.Template.Buckets {
		if b.ARN == arn {
			return b.Name, nil
		}
	}
	return "", errors.New("only buckets of the template are emulated")
}

// shortened is how long a time of the template that people would wait for lasts when the clock runs faster.
func (c *Cloud) shortened(d time.Duration) time.Duration {
	return c.Clock.Real(d, min(d, shortest))
}
