package source

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

// record is one record as it goes into events.
type record struct {
	sequence string
	arrived  time.Time
	encoded  []byte // its element of Records
}

// eventRecord is an element of Records in a Kinesis event.
type eventRecord struct {
	Kinesis           kinesisRecord `json:"kinesis"`
	EventSource       string        `json:"eventSource"`
	EventVersion      string        `json:"eventVersion"`
	EventID           string        `json:"eventID"`
	EventName         string        `json:"eventName"`
	InvokeIdentityARN string        `json:"invokeIdentityArn"`
	Region            string        `json:"awsRegion"`
	EventSourceARN    string        `json:"eventSourceARN"`
}

type kinesisRecord struct {
	SchemaVersion  string      `json:"kinesisSchemaVersion"`
	PartitionKey   string      `json:"partitionKey"`
	SequenceNumber string      `json:"sequenceNumber"`
	Data           []byte      `json:"data"`
	Arrival        json.Number `json:"approximateArrivalTimestamp"` // Unix seconds with milliseconds
}

// encode makes a record of the stream ready for events.
func (m *Mapping) encode(shardID string, in types.Record) (record, error) {
	sequence, arrived := aws.ToString(in.SequenceNumber), aws.ToTime(in.ApproximateArrivalTimestamp)
	ms := arrived.UnixMilli()
	encoded, err := json.Marshal(eventRecord{
		Kinesis: kinesisRecord{
			SchemaVersion: "1.0", PartitionKey: aws.ToString(in.PartitionKey), SequenceNumber: sequence, Data: in.Data,
			Arrival: json.Number(fmt.Sprintf("%d.%03d", ms/1000, ms%1000)),
		},
		EventSource: "aws:kinesis", EventVersion: "1.0", EventID: shardID + ":" + sequence, EventName: "aws:kinesis:record",
		InvokeIdentityARN: m.RoleARN, Region: m.Region, EventSourceARN: m.StreamARN,
	})
	if err != nil {
		return record{}, fmt.Errorf("encode record %s: %w", sequence, err)
	}
	return record{sequence, arrived, encoded}, nil
}

const (
	eventHead = `{"Records":[`
	eventTail = `]}`
)

// payload is the event of a batch.
func payload(batch []record) []byte {
	size := len(eventHead) + len(eventTail)
	for _, r := range batch {
		size += len(r.encoded) + 1
	}
	out := append(make([]byte, 0, size), eventHead...)
	for i, r := range batch {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, r.encoded...)
	}
	return append(out, eventTail...)
}

// fits returns how many of the waiting records make the next batch: at most size, and no more than a payload holds. One
// record always fits.
func fits(waiting []record, size int) int {
	bytes := len(eventHead) + len(eventTail)
	for n, r := range waiting {
		bytes += len(r.encoded) + 1
		if n == size || (n > 0 && bytes > maxPayload) {
			return n
		}
	}
	return len(waiting)
}
