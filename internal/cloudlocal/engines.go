package cloudlocal

import (
	"context"
	"errors"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/palier-ota/palier/internal/cloudlocal/component"
	"github.com/palier-ota/palier/internal/cloudlocal/guard"
	"github.com/palier-ota/palier/internal/cloudlocal/policy"
	"github.com/palier-ota/palier/internal/cloudlocal/template"
)

// Engine is a server and the guard before it. Functions know the guard only; whoever owns the cloud may go to the server.
type Engine struct {
	Server *component.Server
	Guard  *guard.Proxy
}

func (e *Engine) close() error {
	var errs []error
	if e.Guard != nil {
		errs = append(errs, e.Guard.Close())
	}
	if e.Server != nil {
		errs = append(errs, e.Server.Close())
	}
	return errors.Join(errs...)
}

// startEngines starts the three servers, side by side, and a guard before each.
func (c *Cloud) startEngines(ctx context.Context) error {
	o := component.Options{Dir: c.options.Components, Log: c.options.Log}
	var wait sync.WaitGroup
	var errs [3]error
	begin := func(i int, service guard.Service, e *Engine, start func() (*component.Server, error)) {
		wait.Go(func() {
			if e.Server, errs[i] = start(); errs[i] == nil {
				e.Guard, errs[i] = c.guard(service, e.Server.URL)
			}
		})
	}
	begin(0, guard.DynamoDB, &c.DynamoDB, func() (*component.Server, error) { return component.DynamoDB(ctx, o) })
	begin(1, guard.Kinesis, &c.Kinesis, func() (*component.Server, error) { return component.Kinesis(ctx, o) })
	begin(2, guard.S3, &c.S3, func() (*component.Server, error) {
		return component.S3(ctx, component.S3Options{Options: o, Users: c.secrets})
	})
	wait.Wait()
	return errors.Join(errs[:]...)
}

// guard starts the guard of a service.
func (c *Cloud) guard(service guard.Service, upstream string) (*guard.Proxy, error) {
	return guard.Start(guard.Options{
		Service: service, Upstream: upstream, Region: template.Region, Account: template.Account,
		PartitionKey: *c.Template.Table.Create.KeySchema[0].AttributeName, Authorize: c.authorize, Log: c.options.Log,
	})
}

// authorize decides by the policies of the function whose id the caller's access key is.
func (c *Cloud) authorize(caller string, r policy.Request) bool {
	f, known := c.Template.Function(caller)
	allowed := known && policy.Allowed(f.Statements, r)
	if !allowed {
		c.deniedMu.Lock()
		defer c.deniedMu.Unlock()
		c.denied = append(c.denied, Denial{Function: caller, Request: r})
	}
	return allowed
}

// Denial is something that a function wanted to do and the template does not allow.
type Denial struct {
	Function string // the access key id that the request was signed with
	policy.Request
}

// Denied returns what was refused so far for want of a permission, faults not included.
func (c *Cloud) Denied() []Denial {
	c.deniedMu.Lock()
	defer c.deniedMu.Unlock()
	return append([]Denial(nil), c.denied...)
}

// config is how the owner of an access key speaks to a service at an endpoint.
func config(key, secret string) aws.Config {
	return aws.Config{Region: template.Region, Credentials: credentials.NewStaticCredentialsProvider(key, secret, "")}
}

// Tables returns a client of the table's server, past the guard.
func (c *Cloud) Tables() *dynamodb.Client {
	s := c.DynamoDB.Server
	return dynamodb.NewFromConfig(config(s.AccessKey, s.Secret), func(o *dynamodb.Options) { o.BaseEndpoint = &s.URL })
}

// Streams returns a client of the stream's server, past the guard.
func (c *Cloud) Streams() *kinesis.Client {
	s := c.Kinesis.Server
	return kinesis.NewFromConfig(config(s.AccessKey, s.Secret), func(o *kinesis.Options) { o.BaseEndpoint = &s.URL })
}

// Buckets returns a client of the buckets' server, past the guard.
func (c *Cloud) Buckets() *s3.Client {
	s := c.S3.Server
	return s3.NewFromConfig(config(s.AccessKey, s.Secret), func(o *s3.Options) {
		o.BaseEndpoint, o.UsePathStyle = &s.URL, true
	})
}

// kinesisAs returns a client of the stream that acts with the role of a function.
func (c *Cloud) kinesisAs(id string) *kinesis.Client {
	return kinesis.NewFromConfig(config(id, c.secrets[id]), func(o *kinesis.Options) { o.BaseEndpoint = &c.Kinesis.Guard.URL })
}

// s3As returns a client of the buckets that acts with the role of a function.
func (c *Cloud) s3As(id string) *s3.Client {
	return s3.NewFromConfig(config(id, c.secrets[id]), func(o *s3.Options) {
		o.BaseEndpoint, o.UsePathStyle = &c.S3.Guard.URL, true
	})
}

// Owner returns the environment variables with which the owner of the cloud reaches its servers, past the guards: those
// that the AWS SDKs and Palier's own commands read.
func (c *Cloud) Owner() map[string]string {
	s := c.S3.Server // the one that checks signatures
	return map[string]string{
		"AWS_REGION": template.Region, "AWS_ACCESS_KEY_ID": s.AccessKey, "AWS_SECRET_ACCESS_KEY": s.Secret,
		"AWS_ENDPOINT_URL_DYNAMODB": c.DynamoDB.Server.URL,
		"AWS_ENDPOINT_URL_KINESIS":  c.Kinesis.Server.URL,
		"AWS_ENDPOINT_URL_S3":       s.URL,
	}
}
