package template

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/palier-ota/palier/internal/cloudlocal/policy"
)

// small is a whole template with one of everything.
const small = `
Globals: {Function: {Runtime: provided.al2023, Handler: bootstrap, Architectures: [arm64], Environment: {Variables: {A: 1, B: 2}}}}
Resources:
  Api: {Type: 'AWS::Serverless::HttpApi', Properties: {DefaultRouteSettings: {ThrottlingRateLimit: 5.5, ThrottlingBurstLimit: 9}}}
  Files: {Type: 'AWS::S3::Bucket'}
  Events:
    Type: AWS::Kinesis::Stream
    Properties: {StreamModeDetails: {StreamMode: PROVISIONED}, ShardCount: 2, RetentionPeriodHours: 24}
  Items:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: a, AttributeType: S}, {AttributeName: b, AttributeType: N}]
      KeySchema: [{AttributeName: a, KeyType: HASH}, {AttributeName: b, KeyType: RANGE}]
      TimeToLiveSpecification: {AttributeName: ends, Enabled: true}
  WorkRole:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument: {}
      Policies:
        - PolicyName: p
          PolicyDocument:
            Statement:
              - {Effect: Allow, Action: 's3:GetObject', Resource: !Sub '${Files.Arn}/*'}
              - {Effect: Allow, Action: [x, y], Resource: [!GetAtt Items.Arn], Condition: {StringLike: {k: [a, b], l: c}}}
  WorkFunction:
    Type: AWS::Serverless::Function
    Properties:
      Role: !GetAtt WorkRole.Arn
      Timeout: 7
      MemorySize: '256'
      ReservedConcurrentExecutions: 2
      Environment: {Variables: {B: !Ref Files, C: ''}}
      EventInvokeConfig: {MaximumRetryAttempts: 1, MaximumEventAgeInSeconds: 60}
      Events:
        One: {Type: HttpApi, Properties: {ApiId: !Ref Api, Path: '/a/{b+}', Method: post}}
        Rest: {Type: HttpApi, Properties: {ApiId: !Ref Api}}
        Often: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(2 hours)}}
        Batch:
          Type: Kinesis
          Properties: {Stream: !GetAtt Events.Arn, StartingPosition: LATEST, BisectBatchOnFunctionError: 'true', MaximumBatchingWindowInSeconds: 3}
`

func TestParse(t *testing.T) {
	got, err := Parse([]byte(small), Options{Stack: "st"})
	if err != nil {
		t.Fatal(err)
	}
	f, ok := got.Function("WorkFunction")
	if !ok {
		t.Fatal("WorkFunction is not there")
	}
	want := Function{
		ID: "WorkFunction", Name: "st-WorkFunction", ARN: "arn:aws:lambda:us-east-1:000000000000:function:st-WorkFunction",
		RoleARN: "arn:aws:iam::000000000000:role/st-WorkRole", Program: "work", Runtime: "provided.al2023", Handler: "bootstrap",
		Architecture: "arm64", Environment: map[string]string{"A": "1", "B": "st-files", "C": ""},
		Timeout: 7 * time.Second, MemoryMB: 256, Concurrency: 2,
		Statements: []policy.Statement{
			{Effect: "Allow", Actions: []string{"s3:GetObject"}, Resources: []string{"arn:aws:s3:::st-files/*"}},
			{
				Effect: "Allow", Actions: []string{"x", "y"}, Resources: []string{"arn:aws:dynamodb:us-east-1:000000000000:table/st-Items"},
				Conditions: map[string]map[string][]string{"StringLike": {"k": {"a", "b"}, "l": {"c"}}},
			},
		},
		Routes:   []Route{{"POST", "/a/{b+}"}, {"ANY", "$default"}},
		Schedule: &Schedule{Every: 2 * time.Hour, MaxRetries: 1, MaxAge: time.Minute},
		Stream: &StreamSource{
			ARN: "arn:aws:kinesis:us-east-1:000000000000:stream/st-Events", StartingPosition: "LATEST", BatchSize: 100,
			Window: 3 * time.Second, Parallelization: 1, MaxRetries: -1, MaxAge: -time.Second, Bisect: true,
		},
	}
	if !reflect.DeepEqual(f, want) {
		t.Errorf("function is\n%+v\nwant\n%+v", f, want)
	}
	if got.Stream != (Stream{Name: "st-Events", ARN: want.Stream.ARN, Shards: 2, Retention: 24 * time.Hour}) {
		t.Errorf("stream is %+v", got.Stream)
	}
	if got.API != (API{ID: "st-Api", Rate: 5.5, Burst: 9}) {
		t.Errorf("API is %+v", got.API)
	}
	if b, ok := got.Bucket("Files"); !ok || b != (Bucket{"Files", "st-files", "arn:aws:s3:::st-files"}) {
		t.Errorf("bucket is %+v", b)
	}
	if aws.ToString(got.Table.Create.TableName) != "st-Items" || got.Table.TTLAttribute != "ends" ||
		len(got.Table.Create.KeySchema) != 2 || got.Table.Create.AttributeDefinitions[1].AttributeType != "N" {
		t.Errorf("table is %+v", got.Table)
	}
}

// TestParseRefuses shows that nothing that matters is passed over in silence.
func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"a property of a function", "Timeout: 7", "Layers: [x]", "Layers"},
		{"a property of an event", "StartingPosition: LATEST", "TumblingWindowInSeconds: 3", "TumblingWindowInSeconds"},
		{"a kind of event", "Type: ScheduleV2", "Type: SQS", `"SQS"`},
		{"a schedule", "rate(2 hours)", "cron(0 1 * * ? *)", "cron"},
		{"a policy of somebody else", "Policies:", "ManagedPolicyArns: [x]\n      Policies:", "ManagedPolicyArns"},
		{"what is not allowed", "Action: 's3:GetObject'", "NotAction: 's3:GetObject'", "NotAction"},
		{"a role from elsewhere", "!GetAtt WorkRole.Arn", "arn:aws:iam::1:role/x", "not in the template"},
		{"a dangling reference", "!Ref Files", "!Ref Filez", `"Filez"`},
		{"a billing mode", "PAY_PER_REQUEST", "PROVISIONED", "billing mode"},
		{"an index", "BillingMode:", "GlobalSecondaryIndexes: []\n      BillingMode:", "GlobalSecondaryIndexes"},
		{"shards of a stream that has its own", "StreamMode: PROVISIONED", "StreamMode: ON_DEMAND", "2 shards"},
		{"no HTTP API", "'AWS::Serverless::HttpApi', Properties: {DefaultRouteSettings: {ThrottlingRateLimit: 5.5, ThrottlingBurstLimit: 9}}", "'AWS::SNS::Topic'", "not all of them"},
		{"no YAML", "Globals: {", "Globals: {{", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(small, c.old) {
				t.Fatalf("%q is not in the template", c.old)
			}
			_, err := Parse([]byte(strings.Replace(small, c.old, c.new, 1)), Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestReadNamesTheFile(t *testing.T) {
	if _, err := Read("no/such/template.yaml", Options{}); err == nil || !strings.Contains(err.Error(), "no/such/template.yaml") {
		t.Errorf("error %v", err)
	}
}
