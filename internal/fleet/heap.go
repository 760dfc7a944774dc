package fleet

// moment is when a device is due, in nanoseconds of simulated time since the start of the run.
type moment struct {
	due    int64
	device int
}

// agenda is a binary heap of moments, earliest first; ties go to the lower device, so that a run's order is settled.
type agenda []moment

func (m moment) before(o moment) bool {
	return m.due < o.due || m.due == o.due && m.device < o.device
}

// push adds a moment.
func (a *agenda) push(m moment) {
	h := append(*a, m)
	i := len(h) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !h[i].before(h[parent]) {
			break
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
	*a = h
}

// pop removes and returns the earliest moment. The agenda must not be empty.
func (a *agenda) pop() moment {
	h := *a
	first, last := h[0], len(h)-1
	h[0] = h[last]
	h = h[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if h[child].before(h[least]) {
				least = child
			}
		}
		if least == i {
			break
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
	*a = h
	return first
}
