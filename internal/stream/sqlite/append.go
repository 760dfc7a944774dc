package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"sync"

	"github.com/palier-ota/palier/internal/stream"
)

// The most that one transaction holds, so that the first in a group does not wait long for the last.
const (
	groupRecords = 8_192
	groupBytes   = 8 << 20
)

// waiting is one Append on its way to the disk.
type waiting struct {
	ctx   context.Context
	batch []stream.Record
	bytes int
	done  chan error // takes one answer without blocking
}

// Append puts the batch on disk, together with those of others who call at the same time.
func (s *Stream) Append(ctx context.Context, batch []stream.Record) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("appending telemetry: %w", err)
	}
	bytes, err := stream.CheckBatch(batch)
	if err != nil || len(batch) == 0 {
		return err
	}
	w := &waiting{ctx: ctx, batch: copied(batch, bytes), bytes: bytes, done: make(chan error, 1)}
	if err := s.queue.add(w); err != nil {
		return err
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("appending telemetry: %w", context.Cause(ctx))
	}
}

// copied returns the batch with data of its own: a caller who gives up waiting may use its buffers again while the batch
// is still being written.
func copied(batch []stream.Record, bytes int) []stream.Record {
	data := make([]byte, 0, bytes)
	own := make([]stream.Record, len(batch))
	for i, r := range batch {
		data = append(data, r.Data...)
		own[i] = stream.Record{Key: r.Key, Data: data[len(data)-len(r.Data):]}
	}
	return own
}

// writeGroups is the one goroutine that writes. It ends when the queue is closed and empty.
func (s *Stream) writeGroups() {
	defer close(s.drained)
	for {
		group := s.queue.take()
		if group == nil {
			return
		}
		err := s.commit(group)
		if err != nil {
			err = fmt.Errorf("appending telemetry: %w", classify(err))
		}
		s.queue.settle(group)
		for _, w := range group {
			w.done <- err
		}
	}
}

// commit writes the group in one transaction. What it does is not bound to anyone's context: the group is of many.
func (s *Stream) commit(group []*waiting) error {
	tx, err := s.write.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	insert, last := tx.Stmt(s.stmts.insert), tx.Stmt(s.stmts.last)
	// The numbers are read anew in every transaction: another process may have appended in between.
	seqs := make(map[int]int64, s.shards)
	at := s.now().UnixMilli()
	for _, w := range group {
		for _, r := range w.batch {
			shard := int(r.Key % uint64(s.shards))
			if err := next(seqs, shard, last); err != nil {
				return err
			}
			if _, err := insert.Exec(shard, seqs[shard], at, r.Data); err != nil {
				return err
			}
		}
	}
	return tx.Commit()
}

// next raises the shard's number in seqs, which it reads from the file the first time.
func next(seqs map[int]int64, shard int, last *sql.Stmt) error {
	seq, known := seqs[shard]
	if !known {
		if err := last.QueryRow(shard).Scan(&seq); err != nil {
			return err
		}
	}
	seqs[shard] = seq + 1
	return nil
}

// queue holds the Appends that no transaction has taken yet, in the order of their calls.
type queue struct {
	maxRecords, maxBytes int

	mu      sync.Mutex
	changed sync.Cond // something was added, or the queue was closed
	list    []*waiting
	records int // of list and of the group being written
	bytes   int
	closed  bool
}

func (q *queue) init(maxRecords, maxBytes int) {
	q.maxRecords, q.maxBytes = maxRecords, maxBytes
	q.changed.L = &q.mu
}

// add queues w, or fails with stream.ErrOverloaded. A batch that is larger than the whole queue passes when it is
// alone, or it could never be sent.
func (q *queue) add(w *waiting) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return fmt.Errorf("%w: it is closing", stream.ErrOverloaded)
	}
	full := q.records+len(w.batch) > q.maxRecords || q.bytes+w.bytes > q.maxBytes
	if full && q.records > 0 {
		return fmt.Errorf("%w: %d records wait for the disk", stream.ErrOverloaded, q.records)
	}
	q.list = append(q.list, w)
	q.records += len(w.batch)
	q.bytes += w.bytes
	q.changed.Signal()
	return nil
}

// take waits for Appends and returns the first of them, as many as one transaction holds; nil when the queue is closed
// and empty. Those whose caller has gone are dropped.
func (q *queue) take() []*waiting {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		for len(q.list) == 0 && !q.closed {
			q.changed.Wait()
		}
		if len(q.list) == 0 {
			return nil
		}
		if group := q.cut(); len(group) > 0 {
			return group
		}
	}
}

// cut takes a group off the list.
func (q *queue) cut() []*waiting {
	var group []*waiting
	records, bytes, n := 0, 0, 0
	for _, w := range q.list {
		if n > 0 && (records+len(w.batch) > groupRecords || bytes+w.bytes > groupBytes) {
			break
		}
		n++
		if w.ctx.Err() != nil {
			q.records -= len(w.batch)
			q.bytes -= w.bytes
			continue
		}
		group = append(group, w)
		records += len(w.batch)
		bytes += w.bytes
	}
	q.list = q.list[n:]
	return group
}

// settle makes the room of a group free again, once it is on disk or has failed.
func (q *queue) settle(group []*waiting) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, w := range group {
		q.records -= len(w.batch)
		q.bytes -= w.bytes
	}
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.changed.Broadcast()
}
