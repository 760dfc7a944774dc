package edgehost

import "sync"

// backlog holds the reports that the origin could not take, oldest first, within a bound. Its methods may be called concurrently,
// but for first and done, which belong to the one who hands them over.
type backlog interface {
	// add takes reports and returns how many, from the first on, it has room for. When it is durable, those survive a crash.
	add(reports []report) (kept int, err error)
	// first returns some of the oldest reports, none if it is empty.
	first() ([]report, error)
	// done forgets the oldest n.
	done(n int) error
	// size returns how many reports it holds, and their bytes.
	size() (reports int, bytes int64)
	durable() bool
	close() error
}

// memory is a backlog that ends with the process: devices are asked to keep what rests there only.
type memory struct {
	mu      sync.Mutex
	bound   int64
	bytes   int64
	reports []report
}

var _ backlog = (*memory)(nil)

func (m *memory) add(reports []report) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n, r := range reports {
		if m.bytes+int64(len(r.body)) > m.bound {
			return n, nil
		}
		m.bytes += int64(len(r.body))
		m.reports = append(m.reports, r)
	}
	return len(reports), nil
}

func (m *memory) first() ([]report, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reports[:oneBatch(m.reports)], nil
}

func (m *memory) done(n int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range n {
		m.bytes -= int64(len(m.reports[i].body))
		m.reports[i] = report{}
	}
	if m.reports = m.reports[n:]; len(m.reports) == 0 {
		m.reports = nil
	}
	return nil
}

func (m *memory) size() (int, int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.reports), m.bytes
}

func (m *memory) durable() bool { return false }
func (m *memory) close() error  { return nil }

// oneBatch returns how many of the reports, from the first on, go into one request: one if that does not fit with others.
func oneBatch(reports []report) int {
	weight := 0
	for n := range reports {
		weight += reports[n].weight()
		if n == maxReports || n > 0 && weight > maxWeight {
			return n
		}
	}
	return len(reports)
}
