package cloudlocal

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	kinesistypes "github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/palier-ota/palier/internal/cloudlocal/template"
)

// resourceLimit bounds how long a table or a stream may take to become usable.
const resourceLimit = time.Minute

// create makes the template's table, stream and buckets, and returns when they can be used.
func (c *Cloud) create(ctx context.Context) error {
	if err := createTable(ctx, c.Tables(), c.Template.Table); err != nil {
		return err
	}
	if err := createStream(ctx, c.Streams(), c.Template.Stream); err != nil {
		return err
	}
	for _, b := range c.Template.Buckets {
		if _, err := c.Buckets().CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &b.Name}); err != nil {
			return fmt.Errorf("creating the bucket %s: %w", b.Name, err)
		}
	}
	return nil
}

func createTable(ctx context.Context, client *dynamodb.Client, t template.Table) error {
	if _, err := client.CreateTable(ctx, t.Create); err != nil {
		return fmt.Errorf("creating the table %s: %w", t.Name, err)
	}
	waiter := dynamodb.NewTableExistsWaiter(client, func(o *dynamodb.TableExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, time.Second
	})
	if err := waiter.Wait(ctx, &dynamodb.DescribeTableInput{TableName: &t.Name}, resourceLimit); err != nil {
		return fmt.Errorf("waiting for the table %s: %w", t.Name, err)
	}
	if t.TTLAttribute == "" {
		return nil
	}
	_, err := client.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{
		TableName:               &t.Name,
		TimeToLiveSpecification: &dynamotypes.TimeToLiveSpecification{AttributeName: &t.TTLAttribute, Enabled: aws.Bool(true)},
	})
	if err != nil {
		return fmt.Errorf("setting the time to live of the table %s: %w", t.Name, err)
	}
	return nil
}

func createStream(ctx context.Context, client *kinesis.Client, s template.Stream) error {
	in := &kinesis.CreateStreamInput{StreamName: &s.Name}
	if s.OnDemand {
		in.StreamModeDetails = &kinesistypes.StreamModeDetails{StreamMode: kinesistypes.StreamModeOnDemand}
	} else {
		in.ShardCount = aws.Int32(int32(s.Shards))
	}
	if _, err := client.CreateStream(ctx, in); err != nil {
		return fmt.Errorf("creating the stream %s: %w", s.Name, err)
	}
	waiter := kinesis.NewStreamExistsWaiter(client, func(o *kinesis.StreamExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, time.Second
	})
	if err := waiter.Wait(ctx, &kinesis.DescribeStreamInput{StreamName: &s.Name}, resourceLimit); err != nil {
		return fmt.Errorf("waiting for the stream %s: %w", s.Name, err)
	}
	hours := int32(s.Retention / time.Hour)
	if hours <= 24 { // Kinesis's own
		return nil
	}
	_, err := client.IncreaseStreamRetentionPeriod(ctx, &kinesis.IncreaseStreamRetentionPeriodInput{
		StreamName: &s.Name, RetentionPeriodHours: &hours,
	})
	if err != nil {
		return fmt.Errorf("setting the retention of the stream %s: %w", s.Name, err)
	}
	return nil
}
