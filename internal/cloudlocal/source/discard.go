package source

import (
	"context"
	"encoding/json"
	"fmt"
)

// Why records were given up.
const (
	exhausted = "RetryAttemptsExhausted"
	tooOld    = "RecordAgeExceeded"
)

// discardAttempts is how often the destination is tried before records are lost, which Lambda counts as
// DestinationDeliveryFailures.
const discardAttempts = 5

// discard says why records were given up and after what.
type discard struct {
	condition string
	invoked   int    // how often the function was invoked with them
	failed    string // its last error
}

// document is what the on-failure destination gets about records that were given up. An S3 destination gets them too.
type document struct {
	RequestContext  requestContext   `json:"requestContext"`
	ResponseContext *responseContext `json:"responseContext,omitempty"` // if the function was invoked
	Version         string           `json:"version"`
	Timestamp       string           `json:"timestamp"`
	Batch           batchInfo        `json:"KinesisBatchInfo"`
	Payload         string           `json:"payload"` // the event, as a string
}

type requestContext struct {
	RequestID   string `json:"requestId"`
	FunctionARN string `json:"functionArn"`
	Condition   string `json:"condition"`
	InvokeCount int    `json:"approximateInvokeCount"`
}

type responseContext struct {
	StatusCode      int    `json:"statusCode"`
	ExecutedVersion string `json:"executedVersion"`
	FunctionError   string `json:"functionError,omitempty"`
}

type batchInfo struct {
	ShardID      string `json:"shardId"`
	Start        string `json:"startSequenceNumber"`
	End          string `json:"endSequenceNumber"`
	FirstArrival string `json:"approximateArrivalOfFirstRecord"`
	LastArrival  string `json:"approximateArrivalOfLastRecord"`
	Size         int    `json:"batchSize"`
	StreamARN    string `json:"streamArn"`
}

// giveUp sends records to the on-failure destination.
func (m *Mapping) giveUp(ctx context.Context, shardID string, part []record, why discard) {
	defer m.counts.discarded.Add(int64(len(part)))
	m.Log.Error("records are given up", "shard", shardID, "records", len(part), "first", part[0].sequence, "condition", why.condition)
	if m.Discard == nil {
		return
	}
	key, content, err := m.document(shardID, part, why)
	for attempt := 1; err == nil && attempt <= discardAttempts; attempt++ {
		if err = m.Discard(ctx, key, content); err == nil {
			return
		}
		if attempt < discardAttempts && pause(ctx, backoff(attempt)) {
			err = nil
		}
	}
	m.Log.Error("records are lost: the on-failure destination takes nothing", "shard", shardID, "records", len(part), "error", err)
}

// document returns the object's key and content.
func (m *Mapping) document(shardID string, part []record, why discard) (key string, content []byte, err error) {
	now := m.Now()
	first, last := part[0], part[len(part)-1]
	d := document{
		RequestContext: requestContext{m.NewID(), m.FunctionARN, why.condition, why.invoked},
		Version:        "1.0", Timestamp: utc(now),
		Batch: batchInfo{
			ShardID: shardID, Start: first.sequence, End: last.sequence, FirstArrival: utc(first.arrived),
			LastArrival: utc(last.arrived), Size: len(part), StreamARN: m.StreamARN,
		},
		Payload: string(payload(part)),
	}
	if why.invoked > 0 {
		d.ResponseContext = &responseContext{StatusCode: 200, ExecutedVersion: "$LATEST", FunctionError: why.failed}
	}
	if content, err = json.Marshal(d); err != nil {
		return "", nil, fmt.Errorf("encode document: %w", err)
	}
	at := now.UTC()
	key = fmt.Sprintf("aws/lambda/%s/%s/%s/%s-%s", m.ID, shardID, at.Format("2006/01/02"), at.Format("2006-01-02T15.04.05"), m.NewID())
	return key, content, nil
}
