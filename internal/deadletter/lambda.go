package deadletter

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// LambdaPrefix starts the keys of the batches that Lambda gave up on. A whole key is
// aws/lambda/{event source mapping}/{shard}/{yyyy}/{mm}/{dd}/{yyyy-mm-ddThh.mm.ss}-{random}, as "Retain discarded batch
// records for a Kinesis Data Streams event source" in the AWS Lambda Developer Guide says.
const LambdaPrefix = "aws/lambda/"

// lambdaTime is the time in such a key.
const lambdaTime = "2006-01-02T15.04.05"

// ErrPointers: Lambda noted which records it gave up on, and not the records. They can be read from the stream until its
// retention is over.
var ErrPointers = errors.New("holds no records, only where they are on the stream")

// invocation is the invocation record that Lambda sends to an on-failure destination.
type invocation struct {
	RequestContext struct {
		Condition              string `json:"condition"`
		ApproximateInvokeCount int    `json:"approximateInvokeCount"`
	} `json:"requestContext"`
	ResponseContext struct {
		FunctionError string `json:"functionError"`
	} `json:"responseContext"`
	KinesisBatchInfo struct {
		ShardID             string `json:"shardId"`
		StartSequenceNumber string `json:"startSequenceNumber"`
		EndSequenceNumber   string `json:"endSequenceNumber"`
		StreamARN           string `json:"streamArn"`
	} `json:"KinesisBatchInfo"`
	// Payload is the event that the function was given; in buckets only. It is a text that holds JSON, or that JSON.
	Payload json.RawMessage `json:"payload"`
}

// kinesisEvent is what a function is given of a stream.
type kinesisEvent struct {
	Records []struct {
		Kinesis struct {
			PartitionKey   string  `json:"partitionKey"`
			SequenceNumber string  `json:"sequenceNumber"`
			Data           []byte  `json:"data"`
			Arrived        float64 `json:"approximateArrivalTimestamp"` // Unix seconds
		} `json:"kinesis"`
	}
}

// decodeInvocation returns the Letters of a batch that Lambda gave up on.
func decodeInvocation(data []byte) ([]Letter, error) {
	var record invocation
	if err := json.Unmarshal(data, &record); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	batch := record.KinesisBatchInfo
	_, streamName, ok := strings.Cut(batch.StreamARN, ":stream/")
	if !ok || batch.ShardID == "" {
		return nil, fmt.Errorf("%w: it does not say which stream and shard the batch came from", ErrMalformed)
	}
	payload, err := record.payload()
	if err != nil {
		return nil, err
	}
	var event kinesisEvent
	if err := json.Unmarshal(payload, &event); err != nil {
		return nil, fmt.Errorf("%w: the payload is no Kinesis event: %w", ErrMalformed, err)
	}
	letters := make([]Letter, 0, len(event.Records))
	for _, r := range event.Records {
		letters = append(letters, Letter{
			Stream: streamName, Shard: batch.ShardID, Sequence: r.Kinesis.SequenceNumber, Arrived: unixSeconds(r.Kinesis.Arrived),
			Error: record.reason(), Key: r.Kinesis.PartitionKey, Data: r.Kinesis.Data,
		})
	}
	return letters, nil
}

// payload returns the event as JSON.
func (i invocation) payload() ([]byte, error) {
	if len(i.Payload) == 0 || string(i.Payload) == "null" {
		return nil, fmt.Errorf("%w: records %s to %s of shard %s",
			ErrPointers, i.KinesisBatchInfo.StartSequenceNumber, i.KinesisBatchInfo.EndSequenceNumber, i.KinesisBatchInfo.ShardID)
	}
	if i.Payload[0] != '"' {
		return i.Payload, nil
	}
	var text string
	if err := json.Unmarshal(i.Payload, &text); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return []byte(text), nil
}

// reason says why Lambda gave up.
func (i invocation) reason() string {
	text := fmt.Sprintf("%s after %d invocations", i.RequestContext.Condition, i.RequestContext.ApproximateInvokeCount)
	if i.ResponseContext.FunctionError != "" {
		text += ", the last one ended with " + i.ResponseContext.FunctionError
	}
	return text
}

// unixSeconds returns the time, to the millisecond, which is what the stream keeps.
func unixSeconds(seconds float64) time.Time {
	return time.UnixMilli(int64(math.Round(seconds * 1000))).UTC()
}
