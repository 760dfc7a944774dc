package kinesis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/smithy-go"

	"github.com/palier-ota/palier/internal/stream"
)

// refusal is the error of records that Kinesis refused in a call which it otherwise took. It has the shape of the errors
// of whole calls, so that both are judged alike.
type refusal struct {
	code, message string // of the last one
	records, of   int
}

func (r *refusal) Error() string {
	return fmt.Sprintf("%d of %d records refused: %s: %s", r.records, r.of, r.code, r.message)
}

// ErrorCode returns Kinesis's code, as smithy.APIError has it.
func (r *refusal) ErrorCode() string { return r.code }

// once keeps the SDK from repeating a call: persist does, because it also knows of refused records, and two that repeat
// would multiply.
func once(o *kinesis.Options) { o.Retryer = aws.NopRetryer{} }

// persist makes a call until it succeeds, fails for good, or has been made often enough. It fails with the context's
// error when that has ended, and with stream.ErrOverloaded when Kinesis was too busy up to the last attempt or would
// still be paused when the context ends.
func (s *Stream) persist(ctx context.Context, call func() error) error {
	for attempt := 1; ; attempt++ {
		err := call()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !passing(err):
			return err
		}
		pause := s.pause(attempt)
		if attempt == s.opts.Attempts || !time.Now().Add(pause).Before(end(ctx)) {
			return givenUp(err)
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// pause returns the pause after the n-th attempt: "full jitter", any time up to a bound that doubles, so that those who
// were refused together do not come back together.
func (s *Stream) pause(attempt int) time.Duration {
	bound := s.opts.LongestPause
	if doubled := s.opts.FirstPause << min(attempt-1, 20); doubled < bound {
		bound = doubled
	}
	return time.Duration(s.opts.Random() * float64(bound))
}

// end returns the context's deadline, or a time that is never reached.
func end(ctx context.Context) time.Time {
	if at, bounded := ctx.Deadline(); bounded {
		return at
	}
	return time.Now().Add(24 * time.Hour)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// givenUp is the error of a call that failed for a reason which might have passed.
func givenUp(err error) error {
	if busy(err) {
		return fmt.Errorf("%w: %w", stream.ErrOverloaded, err)
	}
	return err
}

// busy tells whether Kinesis, or the key service behind it, was reached and had too much to do. Its internal failures
// are counted in: for who sends, there is no difference.
func busy(err error) bool {
	var coded interface{ ErrorCode() string }
	if !errors.As(err, &coded) {
		return false
	}
	switch coded.ErrorCode() {
	case "KMSThrottlingException", "InternalFailure", "InternalFailureException", "ServiceUnavailable":
		return true
	}
	_, throttled := retry.DefaultThrottleErrorCodes[coded.ErrorCode()]
	return throttled
}

// passing tells whether the reason of an error may pass: overload, and what the SDK would try again, as a connection
// that broke.
func passing(err error) bool {
	var refused *refusal
	if errors.As(err, &refused) || busy(err) {
		return true
	}
	return retry.IsErrorRetryables(retry.DefaultRetryables).IsErrorRetryable(err) == aws.TrueTernary
}

// hasCode tells whether the error is Kinesis's of this code.
func hasCode(err error, code string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == code
}

// unknown tells whether Kinesis does not know the stream, or the shard, of a call.
func unknown(err error) bool { return hasCode(err, "ResourceNotFoundException") }
