package template

import (
	"fmt"
	"strings"

	"github.com/palier-ota/palier/internal/cloudlocal/component"
)

// The account and region that everything local belongs to.
const (
	Account   = component.Account
	Region    = component.Region
	partition = "aws"
)

// names gives resources the names and ARNs that CloudFormation would: here they are made of the stack's name and the
// logical id.
type names struct{ stack string }

func (n names) physical(id string) string { return n.stack + "-" + id }

// bucket is the physical name of a bucket, which S3 wants in lower case.
func (n names) bucket(id string) string { return strings.ToLower(n.physical(id)) }

func (n names) arn(service, rest string) string {
	return "arn:" + partition + ":" + service + ":" + Region + ":" + Account + ":" + rest
}

// ref is what Ref gives for a resource.
func (n names) ref(id, kind string, s *scope) (value, error) {
	switch kind {
	case "AWS::S3::Bucket":
		return n.bucket(id), nil
	case "AWS::SQS::Queue":
		return "https://sqs." + Region + ".amazonaws.com/" + Account + "/" + n.physical(id), nil
	case "AWS::Logs::LogGroup":
		return n.logGroup(id, s)
	case "AWS::SNS::Topic":
		return n.arn("sns", n.physical(id)), nil
	}
	return n.physical(id), nil
}

// attribute is what Fn::GetAtt gives for a resource.
func (n names) attribute(id, kind, attribute string, s *scope) (value, error) {
	name := n.physical(id)
	switch kind + " " + attribute {
	case "AWS::Serverless::Function Arn", "AWS::Lambda::Function Arn":
		return n.arn("lambda", "function:"+name), nil
	case "AWS::DynamoDB::Table Arn":
		return n.arn("dynamodb", "table/"+name), nil
	case "AWS::Kinesis::Stream Arn":
		return n.arn("kinesis", "stream/"+name), nil
	case "AWS::SQS::Queue Arn":
		return n.arn("sqs", name), nil
	case "AWS::SQS::Queue QueueName":
		return name, nil
	case "AWS::CloudWatch::Alarm Arn":
		return n.arn("cloudwatch", "alarm:"+name), nil
	case "AWS::Logs::LogGroup Arn":
		group, err := n.logGroup(id, s)
		return n.arn("logs", "log-group:"+text(group)+":*"), err
	case "AWS::IAM::Role Arn":
		return "arn:" + partition + ":iam::" + Account + ":role/" + name, nil
	case "AWS::S3::Bucket Arn":
		return "arn:" + partition + ":s3:::" + n.bucket(id), nil
	case "AWS::S3::Bucket RegionalDomainName":
		return n.bucket(id) + ".s3." + Region + ".amazonaws.com", nil
	case "AWS::CloudFront::Distribution DomainName":
		return strings.ToLower(name) + ".cloudfront.net", nil
	}
	return nil, fmt.Errorf("attribute %s of %s (%s) is not known here", attribute, id, kind)
}

// logGroup is the name of a log group: its own where it has one.
func (n names) logGroup(id string, s *scope) (value, error) {
	properties, _ := s.resources[id]["Properties"].(map[string]value)
	if own, ok := properties["LogGroupName"]; ok {
		return s.eval(own)
	}
	return n.physical(id), nil
}
