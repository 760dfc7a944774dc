package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/palier-ota/palier/internal/cloudlocal/policy"
)

// streams is Kinesis's dialect.
//
// GetRecords and the later pages of lists carry a token that only Kinesis can read instead of a stream's name. They are
// taken to be about the stream that the caller named last.
type streams struct {
	options Options
	named   sync.Map // caller → the ARN it named last
}

func (*streams) readsBody() bool { return true }

func (s *streams) read(r *http.Request, caller string, body []byte) (string, []need, error) {
	operation, err := target(r, "Kinesis_20131202.")
	if err != nil {
		return "", nil, err
	}
	var b struct{ StreamName, StreamARN, ResourceARN string }
	if err := json.Unmarshal(body, &b); err != nil {
		return operation, nil, fmt.Errorf("decode %s: %w", operation, err)
	}
	resource := b.StreamARN
	switch {
	case resource != "":
	case b.ResourceARN != "":
		resource = b.ResourceARN
	case b.StreamName != "":
		resource = fmt.Sprintf("arn:aws:kinesis:%s:%s:stream/%s", s.options.Region, s.options.Account, b.StreamName)
	}
	if resource, err = s.remember(operation, caller, resource); err != nil {
		return operation, nil, err
	}
	return operation, []need{{Request: policy.Request{Action: "kinesis:" + operation, Resource: resource}, class: resource}}, nil
}

// remember returns the resource, or the caller's last one when there is none.
func (s *streams) remember(operation, caller, resource string) (string, error) {
	if resource != "" {
		if last, _ := s.named.Load(caller); last != resource {
			s.named.Store(caller, resource)
		}
		return resource, nil
	}
	switch operation {
	case "ListStreams", "DescribeLimits", "DescribeAccountSettings":
		return "*", nil
	}
	if last, ok := s.named.Load(caller); ok {
		return last.(string), nil
	}
	return "", errors.New(operation + " names no stream, and the caller named none before")
}

func (*streams) malformed(err error) answer {
	return jsonError(json11, "ValidationException", err.Error(), nil)
}

func (s *streams) denied(caller string, n need) answer {
	return jsonError(json11, "AccessDeniedException", notAuthorized(s.options.Account, caller, n), nil)
}

func (*streams) throttled(*call) []answer {
	return []answer{jsonError(json11, throughputExceeded, rateExceeded, nil)}
}

// The error of a shard that is written to or read from too fast, of a whole call as of a single record.
const (
	throughputExceeded = "ProvisionedThroughputExceededException"
	rateExceeded       = "Rate exceeded for shard shardId-000000000000."
)
