package dynamo_test

import (
	"context"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/palier-ota/palier/internal/cloudlocal/component"
	"github.com/palier-ota/palier/internal/cloudlocal/component/componenttest"
	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/store/dynamo"
	"github.com/palier-ota/palier/internal/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(componenttest.Main(m)) }

// endpoint is the URL of the DynamoDB Local that all tests share. A table of its own for each keeps them apart.
func endpoint(t testing.TB) string {
	t.Helper()
	return componenttest.DynamoDB(t).URL
}

// transport keeps enough connections open for the suite's races.
var transport = &http.Transport{MaxIdleConns: 100, MaxIdleConnsPerHost: 100}

// connect returns a client of the server at url.
func connect(url string, options ...func(*dynamodb.Options)) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{
		BaseEndpoint: &url, Region: component.Region,
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
		HTTPClient:  &http.Client{Transport: transport},
	}, options...)
}

// newTable makes a table as the template does, and deletes it when the test ends.
func newTable(t testing.TB) string {
	t.Helper()
	client := connect(endpoint(t))
	name := componenttest.Name("test")
	_, err := client.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName:   &name,
		BillingMode: types.BillingModePayPerRequest,
		KeySchema: []types.KeySchemaElement{
			{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash},
			{AttributeName: aws.String("sk"), KeyType: types.KeyTypeRange},
		},
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("pk"), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String("sk"), AttributeType: types.ScalarAttributeTypeS},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := client.DeleteTable(context.WithoutCancel(t.Context()), &dynamodb.DeleteTableInput{TableName: &name})
		if err != nil {
			t.Error(err)
		}
	})
	return name
}

// engine is the store behind url, with a table per test, for the suite.
func engine(url string, options dynamo.Options) storetest.Engine {
	client := connect(url)
	open := func(table string, options dynamo.Options) store.Store { return dynamo.New(client, table, options) }
	return storetest.Engine{
		Open: func(t *testing.T) store.Store { return open(newTable(t), options) },
		OpenAt: func(t *testing.T, now func() time.Time) store.Store {
			options := options
			options.Now = now
			return open(newTable(t), options)
		},
		Reopen: func(t *testing.T) func() store.Store {
			table := newTable(t)
			return func() store.Store { return open(table, options) }
		},
	}
}

func TestConformance(t *testing.T) { storetest.Run(t, engine(endpoint(t), dynamo.Options{})) }
