// Package deadletter keeps telemetry records that could not be counted, with all that it takes to count them later.
//
// A record ends here in one of two ways. The aggregate function cannot decode it: then the function writes it down as a
// Letter, one object per record, before it lets the stream go on. Or Lambda gives up on a whole batch, because the
// function failed on it for too long: then Lambda writes the batch down, in a layout of its own, into the same bucket.
// Package deadletter reads both, and says the same of both: these records, from there, for this reason.
//
// Replaying a letter means to append its record to the stream once more. That is safe however often it is done, because
// counting is idempotent (see package telemetry), so a replay that was cut short is simply repeated. An object is removed
// only when its records are on the stream again.
package deadletter

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/telemetry"
)

// Prefix starts the keys of Letters.
const Prefix = "dead/"

// ErrMalformed is wrapped by every error about an object that holds no dead letters.
var ErrMalformed = errors.New("not a dead letter")

// Letter is one record with where it came from and why it was not counted. As an object it is one JSON document.
type Letter struct {
	Stream   string    `json:"stream"`
	Shard    string    `json:"shard"`
	Sequence string    `json:"sequence"` // the record's position in the shard
	Arrived  time.Time `json:"arrived"`  // when the stream took it
	Error    string    `json:"error"`
	Key      string    `json:"key"`  // the partition key: the device's fingerprint in hex, if Palier put the record
	Data     []byte    `json:"data"` // in base64 as JSON
}

// ObjectKey returns where the Letter is kept: dead/{yyyy}/{mm}/{dd}/{stream}/{shard}-{sequence}.json, by the day on which
// the stream took the record. It depends on nothing else, so a record that is delivered again is kept once.
func (l Letter) ObjectKey() string {
	return Prefix + l.Arrived.UTC().Format("2006/01/02") + "/" + l.Stream + "/" + l.Shard + "-" + l.Sequence + ".json"
}

// Encode returns the Letter as it is kept.
func (l Letter) Encode() ([]byte, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encode dead letter: %w", err)
	}
	return text, nil
}

// Readable returns nil if the record could be counted now, and what is wrong with it otherwise.
func (l Letter) Readable() error {
	_, err := telemetry.Decode(l.Data)
	return err
}

// Record returns what to append to the stream: under the key of its device, so that it falls on that device's shard. Of a
// record that cannot be read the device is what its partition key says; of a foreign one that key's hash will do.
func (l Letter) Record() stream.Record {
	if event, err := telemetry.Decode(l.Data); err == nil {
		return stream.Record{Key: event.Device, Data: l.Data}
	}
	key, err := strconv.ParseUint(l.Key, 16, 64)
	if err != nil {
		key = telemetry.Fingerprint(l.Key)
	}
	return stream.Record{Key: key, Data: l.Data}
}

// Decode returns the Letters of an object in either layout, which its key tells. It fails with ErrMalformed, and with
// ErrPointers when Lambda kept no records.
func Decode(objectKey string, data []byte) ([]Letter, error) {
	if strings.HasPrefix(objectKey, LambdaPrefix) {
		return decodeInvocation(data)
	}
	var l Letter
	if err := json.Unmarshal(data, &l); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if l.Stream == "" || l.Shard == "" || l.Sequence == "" {
		return nil, fmt.Errorf("%w: it does not say which record of which stream it is", ErrMalformed)
	}
	return []Letter{l}, nil
}

// Entry is what an object's key says.
type Entry struct {
	Key    string    `json:"key"`
	Size   int64     `json:"bytes"`
	At     time.Time `json:"at"`               // Letter: the day its record arrived; batch: when Lambda gave it up; zero if the key does not say
	Stream string    `json:"stream,omitempty"` // of a Letter; a batch's key does not say
	Shard  string    `json:"shard,omitempty"`
	Batch  bool      `json:"batch"` // written by Lambda: holds any number of records
}

// entry reads a key.
func entry(key string, size int64) Entry {
	e := Entry{Key: key, Size: size}
	parts := strings.Split(key, "/")
	switch {
	case strings.HasPrefix(key, LambdaPrefix) && len(parts) == 8:
		e.Batch, e.Shard = true, parts[3]
		if stamp := parts[7]; len(stamp) >= len(lambdaTime) {
			e.At, _ = time.Parse(lambdaTime, stamp[:len(lambdaTime)]) // zero when it is none
		}
	case strings.HasPrefix(key, LambdaPrefix):
		e.Batch = true
	case len(parts) == 6:
		e.At, _ = time.Parse("2006/01/02", path.Join(parts[1:4]...)) // zero when it is none
		e.Stream = parts[4]
		e.Shard = parts[5][:max(0, strings.LastIndex(parts[5], "-"))]
	}
	return e
}
