package template

import (
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// tableProperties are those of AWS::DynamoDB::Table. What is any has no local counterpart, or does not matter here.
type tableProperties struct {
	BillingMode             string
	AttributeDefinitions    []struct{ AttributeName, AttributeType string }
	KeySchema               []struct{ AttributeName, KeyType string }
	TimeToLiveSpecification struct {
		AttributeName string
		Enabled       flag
	}
	DeletionProtectionEnabled flag

	PointInTimeRecoverySpecification any
	SSESpecification                 any
	Tags                             any
}

func (t *Template) takeTable(id string) error {
	if t.Table.Name != "" {
		return errors.New("there is another table: Palier has one")
	}
	var p tableProperties
	if err := t.decodeProperties(id, &p); err != nil {
		return err
	}
	if p.BillingMode != string(types.BillingModePayPerRequest) {
		return fmt.Errorf("billing mode %q: only %s is understood", p.BillingMode, types.BillingModePayPerRequest)
	}
	name := t.scope.names.physical(id)
	in := &dynamodb.CreateTableInput{TableName: aws.String(name), BillingMode: types.BillingModePayPerRequest}
	for _, a := range p.AttributeDefinitions {
		in.AttributeDefinitions = append(in.AttributeDefinitions, types.AttributeDefinition{
			AttributeName: aws.String(a.AttributeName), AttributeType: types.ScalarAttributeType(a.AttributeType),
		})
	}
	for _, k := range p.KeySchema {
		in.KeySchema = append(in.KeySchema, types.KeySchemaElement{
			AttributeName: aws.String(k.AttributeName), KeyType: types.KeyType(k.KeyType),
		})
	}
	t.Table = Table{Name: name, ARN: t.scope.names.arn("dynamodb", "table/"+name), Create: in}
	if p.TimeToLiveSpecification.Enabled {
		t.Table.TTLAttribute = p.TimeToLiveSpecification.AttributeName
	}
	return nil
}

// streamProperties are those of AWS::Kinesis::Stream.
type streamProperties struct {
	StreamModeDetails    struct{ StreamMode string }
	ShardCount           whole
	RetentionPeriodHours whole

	StreamEncryption any
	Tags             any
}

func (t *Template) takeStream(id string) error {
	if t.Stream.Name != "" {
		return errors.New("there is another stream: Palier has one")
	}
	var p streamProperties
	if err := t.decodeProperties(id, &p); err != nil {
		return err
	}
	name := t.scope.names.physical(id)
	t.Stream = Stream{
		Name: name, ARN: t.scope.names.arn("kinesis", "stream/"+name), OnDemand: p.StreamModeDetails.StreamMode == "ON_DEMAND",
		Shards: int(p.ShardCount), Retention: time.Duration(p.RetentionPeriodHours) * time.Hour,
	}
	if t.Stream.OnDemand == (t.Stream.Shards > 0) {
		return fmt.Errorf("mode %q with %d shards", p.StreamModeDetails.StreamMode, t.Stream.Shards)
	}
	return nil
}

// apiProperties are those of AWS::Serverless::HttpApi.
type apiProperties struct {
	DefaultRouteSettings struct {
		ThrottlingRateLimit  float64
		ThrottlingBurstLimit int
	}

	Description       any
	AccessLogSettings any
	Tags              any
}

func (t *Template) takeAPI(id string) error {
	if t.API.ID != "" {
		return errors.New("there is another HTTP API: Palier has one")
	}
	var p apiProperties
	if err := t.decodeProperties(id, &p); err != nil {
		return err
	}
	t.API = API{
		ID: t.scope.names.physical(id), Rate: p.DefaultRouteSettings.ThrottlingRateLimit,
		Burst: p.DefaultRouteSettings.ThrottlingBurstLimit,
	}
	return nil
}

func (t *Template) decodeProperties(id string, out any) error {
	p, err := t.properties(id)
	if err != nil {
		return err
	}
	return decode(p, out)
}
