package dynamo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/palier-ota/palier/internal/store"
)

// errNoTable is the answer to a wrong name or region.
var errNoTable = errors.New("no such table in this region [deploy the stack, or check the table's name]")

// kind returns which of the contract's errors DynamoDB means by the code of an error or, without "Exception", of a
// reason for which it cancelled a transaction; nil when it means none.
func kind(code, message string) error {
	switch code {
	case "ConditionalCheckFailed", "TransactionConflict":
		return store.ErrConflict
	case "ItemCollectionSizeLimitExceeded", "ItemCollectionSizeLimitExceededException":
		return store.ErrTooLarge
	case "ValidationError", "ValidationException":
		if strings.Contains(message, "size") {
			return store.ErrTooLarge
		}
		return store.ErrInvalid
	case "ProvisionedThroughputExceeded", "ProvisionedThroughputExceededException", "RequestLimitExceeded",
		"ThrottlingError", "ThrottlingException", "TransactionInProgressException", "RequestTimeout",
		"TransactionConflictException": // a plain write that met a transaction: it had no condition to be in conflict with
		return store.ErrUnavailable
	case "ResourceNotFoundException":
		return errNoTable
	}
	return nil
}

// newRetryer returns the SDK's standard retrying, with its budget that keeps a table in trouble from being asked ever
// more, and with this store's number of attempts and pauses. To what the SDK repeats it adds an answer that was cut off
// and a plain write that met a transaction.
func (s *Store) newRetryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = s.options.Attempts
		o.Backoff = retry.BackoffDelayerFunc(func(attempt int, _ error) (time.Duration, error) {
			return s.backoff(attempt), nil
		})
		o.Retryables = append(o.Retryables,
			retry.RetryableErrorCode{Codes: map[string]struct{}{"TransactionConflictException": {}}},
			retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
				if errors.Is(err, io.ErrUnexpectedEOF) {
					return aws.TrueTernary
				}
				return aws.UnknownTernary
			}))
	})
}

// backoff draws the pause after an attempt, counted from 1, with full jitter.
// https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
func (s *Store) backoff(attempt int) time.Duration {
	bound := s.options.MaxBackoff
	if shift := max(0, attempt-1); shift < 6 {
		bound = min(bound, s.options.MaxBackoff/40<<shift)
	}
	return time.Duration(s.options.Jitter() * float64(bound))
}

// pause waits before the attempt that follows, or until ctx ends.
func (s *Store) pause(ctx context.Context, attempt int) error {
	timer := time.NewTimer(s.backoff(attempt))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// outcome is what became of a transaction that failed.
type outcome uint8

const (
	refused   outcome = iota // it was not carried out, and no attempt will change that
	cancelled                // it was not carried out, for what may have passed a moment later
	lost                     // nobody knows; under the same token it can be asked for again
)

// outcome returns what a failed attempt at a transaction means.
func (s *Store) outcome(ctx context.Context, ops []store.Op, err error) (outcome, error) {
	cancellation, ok := errors.AsType[*types.TransactionCanceledException](err)
	switch {
	case ok:
		return reasons(ops, cancellation)
	case s.retry.IsErrorRetryable(err):
		return lost, classify(ctx, err)
	}
	return refused, classify(ctx, err)
}

// reasons returns what a cancelled transaction failed for: the first thing that will not pass, or else another
// transaction, or else throttling.
func reasons(ops []store.Op, c *types.TransactionCanceledException) (became outcome, failure error) {
	for i, reason := range c.CancellationReasons {
		code := aws.ToString(reason.Code)
		if code == "" || code == "None" || i >= len(ops) {
			continue
		}
		cause := because(ops[i].Item.Key, code, aws.ToString(reason.Message))
		conflict := code == "TransactionConflict"
		if !conflict && !errors.Is(cause, store.ErrUnavailable) {
			return refused, cause
		}
		if failure == nil || conflict {
			failure = cause
		}
	}
	if failure == nil {
		failure = fmt.Errorf("%w: %w", store.ErrUnavailable, c)
	}
	return cancelled, failure
}

// because is the error of a transaction that was cancelled for what was found at k.
func because(k store.Key, code, message string) error {
	if known := kind(code, message); known != nil {
		return fmt.Errorf("%w: %s: %s %s", known, k, code, message)
	}
	return fmt.Errorf("%s: %s %s", k, code, message)
}

// classify returns err as one of the contract's errors where it is one. An error that is no answer of DynamoDB's says
// that it could not be reached.
func classify(ctx context.Context, err error) error {
	if over := ctx.Err(); over != nil {
		return fmt.Errorf("%w: %w", over, err)
	}
	answer, ok := errors.AsType[smithy.APIError](err)
	if !ok || brokeDown(err) {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if known := kind(answer.ErrorCode(), answer.ErrorMessage()); known != nil {
		return fmt.Errorf("%w: %w", known, err)
	}
	return err
}

// brokeDown reports whether err is an answer with a status of 500 or above, whoever on the way gave it.
func brokeDown(err error) bool {
	answer, ok := errors.AsType[interface {
		error
		HTTPStatusCode() int
	}](err)
	return ok && answer.HTTPStatusCode() >= http.StatusInternalServerError
}
