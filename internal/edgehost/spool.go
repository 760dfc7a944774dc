package edgehost

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/gofrs/flock"

	"github.com/palier-ota/palier/internal/source"
)

// A spool is a backlog in a directory. Reports are appended to segments, files that are written once from the beginning to the
// end, and synced before anybody is told that they are there. Reading begins at the oldest segment, which is closed for writing
// then; one that was handed over whole is removed. A record is
//
//	length of the rest  uint32, little-endian
//	CRC-32C of the rest uint32, little-endian
//	path                one byte: 's' for /stats, 't' for /telemetry; 'S' and 'T' if there is a source
//	source              one byte for its length, and its text
//	body
//
// A crash may leave a record half written at the end of the last segment. Nobody was told that it is there, so reading ends
// before it. A process that starts begins a segment of its own. How far it has handed over the oldest segment it does not write
// down: after a crash some of it is handed over again.
type spool struct {
	dir   string
	bound int64
	log   *slog.Logger
	lock  *flock.Flock

	mu      sync.Mutex
	sealed  []segment // oldest first
	writing *os.File  // nil until there is something to write
	last    segment   // what writing is
	head    []report  // what is left of sealed[0], if it was read
	bytes   int64     // of all segments
	reports int
}

var _ backlog = (*spool)(nil)

// segment is a file of the spool.
type segment struct {
	number  int64
	reports int
	bytes   int64 // up to the last whole record
}

const (
	segmentSize  = 256 << 10 // bytes, from which on the next report begins another: also what is handed over twice after a crash
	recordHeader = 8
	maxRecord    = 2 << 20 // bytes of a record beyond its header; no report has as many
	filePattern  = "spool-%016d"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openSpool opens the directory, which it makes if there is none, and which no other process may use meanwhile.
func openSpool(dir string, bound int64, log *slog.Logger) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening the spool: %w", err)
	}
	s := &spool{dir: dir, bound: bound, log: log, lock: flock.New(filepath.Join(dir, "lock"))}
	if held, err := s.lock.TryLock(); err != nil {
		return nil, fmt.Errorf("opening the spool: %w", err)
	} else if !held {
		return nil, fmt.Errorf("the spool %s is in use by another process; give each edge a directory of its own", dir)
	}
	if err := s.scan(); err != nil {
		_ = s.lock.Unlock()
		return nil, err
	}
	return s, nil
}

// scan counts what an earlier process left.
func (s *spool) scan() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("reading the spool: %w", err)
	}
	for _, e := range entries {
		var g segment
		if _, err := fmt.Sscanf(e.Name(), filePattern, &g.number); err != nil || strings.Contains(e.Name(), ".") {
			continue
		}
		reports, whole, size, err := s.read(g.number)
		if err != nil {
			return err
		}
		g.reports, g.bytes = len(reports), whole
		s.last.number = max(s.last.number, g.number)
		s.reports += g.reports
		s.bytes += g.bytes
		if whole < size {
			s.log.Warn("a segment of the spool ends in what was not written whole, which is left out",
				"segment", g.number, "reports", g.reports, "bytes", size-whole)
		}
		s.sealed = append(s.sealed, g)
	}
	slices.SortFunc(s.sealed, func(a, b segment) int { return int(a.number - b.number) })
	return nil
}

func (s *spool) path(number int64) string {
	return filepath.Join(s.dir, fmt.Sprintf(filePattern, number))
}

// read reads a segment: its whole reports, where they end, and where the file does.
func (s *spool) read(number int64) (reports []report, whole, size int64, err error) {
	raw, err := os.ReadFile(s.path(number))
	if err != nil {
		return nil, 0, 0, fmt.Errorf("reading the spool: %w", err)
	}
	reports, rest := cutRecords(raw)
	return reports, int64(len(raw) - len(rest)), int64(len(raw)), nil
}

// cutRecords reads whole records as far as there are any, and returns what follows them.
func cutRecords(raw []byte) (reports []report, rest []byte) {
	for rest = raw; ; {
		r, after, ok := cutRecord(rest)
		if !ok {
			return reports, rest
		}
		reports, rest = append(reports, r), after
	}
}

// appendRecord appends a report as a record.
func appendRecord(dst []byte, r report) []byte {
	head := []byte{'s'}
	if r.path == pathTelemetry {
		head[0] = 't'
	}
	if r.source != "" && len(r.source) <= source.MaxText {
		head[0] -= 's' - 'S'
		head = append(append(head, byte(len(r.source))), r.source...)
	}
	sum := crc32.Update(crc32.Update(0, castagnoli, head), castagnoli, r.body)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(head)+len(r.body)))
	dst = binary.LittleEndian.AppendUint32(dst, sum)
	return append(append(dst, head...), r.body...)
}

// cutRecord reads the first record, and reports whether there is a whole one.
func cutRecord(raw []byte) (r report, rest []byte, ok bool) {
	if len(raw) < recordHeader {
		return r, raw, false
	}
	n, sum := binary.LittleEndian.Uint32(raw), binary.LittleEndian.Uint32(raw[4:])
	if n < 1 || n > maxRecord || int(n) > len(raw)-recordHeader {
		return r, raw, false
	}
	content := raw[recordHeader : recordHeader+n]
	if crc32.Checksum(content, castagnoli) != sum {
		return r, raw, false
	}
	return readRecord(content), raw[recordHeader+n:], true
}

// readRecord reads what follows a record's header. Its sum is right, so it is as it was written.
func readRecord(content []byte) report {
	r := report{path: pathStats, body: content[1:]}
	if content[0] == 't' || content[0] == 'T' {
		r.path = pathTelemetry
	}
	if written := content[0] == 'S' || content[0] == 'T'; written && len(content) > 1 && len(content) >= 2+int(content[1]) {
		end := 2 + int(content[1])
		r.source, r.body = string(content[2:end]), content[end:]
	}
	return r
}

func (s *spool) add(reports []report) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var records []byte
	kept := 0
	for _, r := range reports {
		with := appendRecord(records, r)
		if s.bytes+int64(len(with)) > s.bound {
			break
		}
		records = with
		kept++
	}
	if kept == 0 {
		return 0, nil
	}
	if err := s.append(records); err != nil {
		return 0, err
	}
	s.last.reports += kept
	s.reports += kept
	return kept, nil
}

// append writes records and syncs them. After a failure nothing of them is there.
func (s *spool) append(records []byte) error {
	if s.writing == nil {
		if err := s.begin(); err != nil {
			return err
		}
	}
	_, err := s.writing.WriteAt(records, s.last.bytes)
	if err == nil {
		err = s.writing.Sync()
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("writing the spool: %w", err), s.writing.Truncate(s.last.bytes))
		s.seal() // what a file holds after a failed sync nobody knows: write no more to it
		return err
	}
	s.last.bytes += int64(len(records))
	s.bytes += int64(len(records))
	if s.last.bytes >= segmentSize {
		s.seal()
	}
	return nil
}

// begin begins a segment.
func (s *spool) begin() error {
	next := segment{number: s.last.number + 1}
	f, err := os.OpenFile(s.path(next.number), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("beginning a segment of the spool: %w", err)
	}
	if err := syncDir(s.dir); err != nil {
		return errors.Join(fmt.Errorf("beginning a segment of the spool: %w", err), f.Close(), os.Remove(s.path(next.number)))
	}
	s.writing, s.last = f, next
	return nil
}

// seal ends the segment that is written.
func (s *spool) seal() {
	_ = s.writing.Close() // it is synced
	s.writing = nil
	s.sealed = append(s.sealed, s.last)
}

func (s *spool) first() ([]report, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.head) == 0 {
		if len(s.sealed) == 0 && s.writing == nil {
			return nil, nil
		}
		if len(s.sealed) == 0 {
			s.seal()
		}
		if err := s.behead(); err != nil {
			return nil, err
		}
	}
	return s.head[:oneBatch(s.head)], nil
}

// behead reads the oldest segment, and removes it if there is nothing in it.
func (s *spool) behead() error {
	oldest := s.sealed[0]
	reports, whole, _, err := s.read(oldest.number)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case whole < oldest.bytes:
		s.log.Error("a segment of the spool is damaged: what follows the damage is lost", "segment", oldest.number,
			"reports", oldest.reports-len(reports))
	}
	s.reports += len(reports) - oldest.reports
	s.sealed[0].reports = len(reports)
	if s.head = reports; len(reports) == 0 {
		return s.remove()
	}
	return nil
}

// remove removes the oldest segment.
func (s *spool) remove() error {
	oldest := s.sealed[0]
	s.sealed = s.sealed[1:]
	s.bytes -= oldest.bytes
	if err := os.Remove(s.path(oldest.number)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing what was handed over: %w", err)
	}
	return nil
}

func (s *spool) done(n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports -= n
	if s.head = s.head[n:]; len(s.head) > 0 {
		return nil
	}
	s.head = nil
	return s.remove()
}

func (s *spool) size() (int, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reports, s.bytes
}

func (s *spool) durable() bool { return true }

func (s *spool) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing != nil {
		s.seal()
	}
	if err := s.lock.Unlock(); err != nil {
		return fmt.Errorf("closing the spool: %w", err)
	}
	return nil
}

// syncDir makes names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
