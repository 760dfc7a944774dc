package source

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// deliver brings a batch to its end: every record is done or given up when it returns, unless ctx has ended.
func (m *Mapping) deliver(ctx context.Context, shardID string, batch []record) {
	parts := [][]record{batch} // the next one last
	for len(parts) > 0 && ctx.Err() == nil {
		part := parts[len(parts)-1]
		parts = parts[:len(parts)-1]
		for _, half := range slices.Backward(m.attempt(ctx, shardID, part)) {
			parts = append(parts, half)
		}
	}
}

// attempt delivers a part of a batch until it is done, given up, or to be cut: then it returns the halves, in order.
func (m *Mapping) attempt(ctx context.Context, shardID string, part []record) [][]record {
	for invoked, failed, throttled := 0, 0, 0; ctx.Err() == nil; {
		part = m.dropAged(ctx, shardID, part, invoked)
		if len(part) == 0 {
			return nil
		}
		reply, err := m.Invoke(ctx, payload(part))
		if ctx.Err() != nil {
			return nil
		}
		if err != nil { // not a failure of the function's
			throttled++
			m.counts.throttles.Add(1)
			m.Log.Warn("the function cannot be invoked; will try again", "shard", shardID, "error", err)
			pause(ctx, backoff(throttled))
			continue
		}
		throttled = 0
		invoked++
		m.counts.invocations.Add(1)
		rest := m.unfinished(reply, part)
		m.counts.done.Add(int64(len(part) - len(rest)))
		if len(rest) == 0 {
			m.repeat(ctx, part)
			return nil
		}
		m.counts.failures.Add(1)
		m.Log.Warn("the function failed a batch", "shard", shardID, "records", len(part), "left", len(rest),
			"error", reply.FunctionError, "payload", brief(reply.Payload))
		switch moved := len(rest) < len(part); {
		case m.Bisect && moved: // cut where the function said
			m.counts.splits.Add(1)
		case m.Bisect && len(rest) > 1:
			m.counts.splits.Add(1)
			middle := len(rest) / 2
			return [][]record{rest[:middle], rest[middle:]}
		default:
			failed++
		}
		part = rest
		if m.MaximumRetryAttempts >= 0 && failed > m.MaximumRetryAttempts {
			m.giveUp(ctx, shardID, part, discard{condition: exhausted, invoked: invoked, failed: reply.FunctionError})
			return nil
		}
		pause(ctx, backoff(max(failed, 1)))
	}
	return nil
}

// repeat delivers a batch that is done once more if the Mapping is asked to, whatever comes of it.
func (m *Mapping) repeat(ctx context.Context, part []record) {
	if m.Repeat == nil || !m.Repeat() {
		return
	}
	m.counts.repeats.Add(1)
	if _, err := m.Invoke(ctx, payload(part)); err != nil && ctx.Err() == nil {
		m.Log.Debug("delivering a batch once more failed", "error", err)
	}
}

// dropAged gives up records that are older than the Mapping allows and returns the others. A shard's records are in the
// order of their age.
func (m *Mapping) dropAged(ctx context.Context, shardID string, part []record, invoked int) []record {
	if m.MaximumRecordAge <= 0 {
		return part
	}
	oldest := m.Now().Add(-m.MaximumRecordAge)
	n := 0
	for n < len(part) && part[n].arrived.Before(oldest) {
		n++
	}
	if n > 0 {
		m.giveUp(ctx, shardID, part[:n], discard{condition: tooOld, invoked: invoked})
	}
	return part[n:]
}

// unfinished returns the records of a part that the reply leaves to be tried again; none when all went well.
func (m *Mapping) unfinished(reply Reply, part []record) []record {
	if reply.FunctionError != "" {
		return part
	}
	if !m.ReportItemFailures {
		return nil
	}
	failed, ok := itemFailures(reply.Payload)
	if !ok {
		return part
	}
	first := len(part)
	for _, sequence := range failed {
		at := slices.IndexFunc(part, func(r record) bool { return r.sequence == sequence })
		if at < 0 {
			return part // a record that was not in the batch: nothing it says can be trusted
		}
		first = min(first, at)
	}
	return part[first:]
}

// itemFailures reads a function's answer: the sequence numbers of the records that failed, none for a success. It
// reports false when the answer fails the whole batch, because an item has no identifier or it is no such answer at all.
func itemFailures(answer []byte) (sequences []string, ok bool) {
	if len(strings.TrimSpace(string(answer))) == 0 {
		return nil, true
	}
	var in *struct {
		BatchItemFailures []struct {
			ItemIdentifier string `json:"itemIdentifier"`
		} `json:"batchItemFailures"`
	}
	if err := json.Unmarshal(answer, &in); err != nil {
		return nil, false
	}
	if in == nil {
		return nil, true
	}
	for _, item := range in.BatchItemFailures {
		if item.ItemIdentifier == "" {
			return nil, false
		}
		sequences = append(sequences, item.ItemIdentifier)
	}
	return sequences, true
}

// brief is the beginning of an answer, for the log.
func brief(answer []byte) string { return string(answer[:min(len(answer), 300)]) }

// utc is how destination documents write a time.
func utc(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
