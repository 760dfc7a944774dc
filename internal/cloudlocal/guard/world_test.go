package guard_test

import (
	"os"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/palier-ota/palier/internal/cloudlocal/component"
	"github.com/palier-ota/palier/internal/cloudlocal/component/componenttest"
	"github.com/palier-ota/palier/internal/cloudlocal/guard"
	"github.com/palier-ota/palier/internal/cloudlocal/policy"
)

func TestMain(m *testing.M) { os.Exit(componenttest.Main(m)) }

// policies are what callers may do; they can be changed while a Proxy runs.
type policies struct {
	mu    sync.Mutex
	roles map[string][]policy.Statement
}

func (p *policies) allow(caller string, statements ...policy.Statement) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.roles == nil {
		p.roles = map[string][]policy.Statement{}
	}
	p.roles[caller] = statements
}

func (p *policies) authorize(caller string, r policy.Request) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return policy.Allowed(p.roles[caller], r)
}

// started is a Proxy before a component, ended with the test.
func started(t *testing.T, o guard.Options) *guard.Proxy {
	t.Helper()
	p, err := guard.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func credentialsOf(caller string) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(caller, secret, "")
}

const secret = "a-secret-of-forty-characters-for-tests-ok"

// dynamoClient calls through p and does not repeat failures.
func dynamoClient(p *guard.Proxy, caller string) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{
		BaseEndpoint: &p.URL, Region: component.Region, Credentials: credentialsOf(caller), RetryMaxAttempts: 1,
	})
}

func kinesisClient(p *guard.Proxy, caller string) *kinesis.Client {
	return kinesis.New(kinesis.Options{
		BaseEndpoint: &p.URL, Region: component.Region, Credentials: credentialsOf(caller), RetryMaxAttempts: 1,
	})
}

// newTable makes a table with the keys pk and sk and returns its name and ARN as policies know it.
func newTable(t *testing.T) (name, arn string) {
	t.Helper()
	name = componenttest.Name("table")
	_, err := componenttest.DynamoDBClient(t).CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("pk"), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String("sk"), AttributeType: types.ScalarAttributeTypeS},
		},
		KeySchema: []types.KeySchemaElement{
			{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash},
			{AttributeName: aws.String("sk"), KeyType: types.KeyTypeRange},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return name, "arn:aws:dynamodb:" + component.Region + ":" + component.Account + ":table/" + name
}

// key is the key of an item.
func key(pk, sk string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{
		"pk": &types.AttributeValueMemberS{Value: pk}, "sk": &types.AttributeValueMemberS{Value: sk},
	}
}
