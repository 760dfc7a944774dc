package edgehost

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	deliveries   = 4                // batches on their way at once
	maxNoteBytes = 4 << 20          // of notes that wait
	flushTimeout = 10 * time.Second // for what is left at the end
)

// courier carries reports and notes to the origin. What comes within a moment goes together; what the origin cannot take goes to
// the backlog and from there, oldest first, when the origin can.
type courier struct {
	origin      *origin
	backlog     backlog
	every       time.Duration // the moment
	unavailable answer
	renote      func() // tells those who note that notes were lost
	random      func() float64
	log         *slog.Logger
	counts      *counts
	trouble     seldom

	slots chan struct{} // taken by batches on their way
	due   chan struct{} // something waits
	full  chan struct{} // and is a batch already
	more  chan struct{} // there is something in the backlog
	back  chan struct{} // the origin can be reached again

	mu        sync.Mutex
	parcels   []*parcel
	weight    int
	notes     []note
	noted     seen
	noteBytes int
	notesFrom time.Time // when to try with the notes again
	notesLost bool
}

// seldom lets one through per minute: what goes wrong for one batch goes wrong for all of them.
type seldom struct{ last atomic.Int64 }

func (s *seldom) now(t time.Time) bool {
	minute := t.Unix() / 60
	return s.last.Swap(minute) != minute
}

// parcel is a report whose device waits for the answer.
type parcel struct {
	report
	weight int
	reply  chan answer
}

// newCourier makes the channels of a courier that has all else.
func newCourier(c *courier) *courier {
	signal := func() chan struct{} { return make(chan struct{}, 1) }
	c.slots, c.due, c.full, c.more, c.back = make(chan struct{}, deliveries), signal(), signal(), signal(), signal()
	return c
}

// raise raises a signal, unless it is raised already.
func raise(signal chan struct{}) {
	select {
	case signal <- struct{}{}:
	default:
	}
}

// carry hands a report over and returns the device's answer. It keeps the body.
func (c *courier) carry(ctx context.Context, r report) answer {
	c.counts.telemetry.Add(1)
	if !r.fits() {
		return c.alone(ctx, r)
	}
	p := &parcel{report: r, weight: r.weight(), reply: make(chan answer, 1)}
	c.mu.Lock()
	c.parcels = append(c.parcels, p)
	c.weight += p.weight
	if len(c.parcels) >= maxReports || c.weight >= maxWeight {
		raise(c.full)
	}
	c.mu.Unlock()
	raise(c.due)
	select {
	case a := <-p.reply:
		return a
	case <-ctx.Done():
		return c.unavailable // to nobody: the device is gone
	}
}

// alone hands over a report that does not fit with others.
func (c *courier) alone(ctx context.Context, r report) answer {
	if c.origin.reach.allows() {
		if a, err := c.origin.post(ctx, r); err == nil {
			return a
		}
	}
	return c.keep([]report{r})[0]
}

// note takes a note along with what goes next. It keeps the text.
func (c *courier) note(n note) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.noted.first(n) {
		return
	}
	if c.noteBytes+len(n.text) > maxNoteBytes {
		c.notesLost = true
		c.counts.dropped.Add(1)
		return
	}
	c.notes = append(c.notes, n)
	c.noteBytes += len(n.text)
	if len(c.notes) == maxNotes {
		raise(c.full)
	}
	raise(c.due)
}

// run carries until ctx ends, and then what is left, as far as the origin takes it. Nobody may carry or note any more then.
func (c *courier) run(ctx context.Context) {
	var loops, sent sync.WaitGroup
	loops.Go(func() { c.drain(ctx) })
	c.gather(ctx, &sent)
	loops.Wait()
	sent.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	for notes, parcels := c.take(time.Time{}); len(notes)+len(parcels) > 0 && last.Err() == nil; notes, parcels = c.take(time.Time{}) {
		if !c.deliver(last, notes, parcels) {
			break
		}
	}
}

// gather sends off a batch whenever a moment has passed since something came, or there is enough for one.
func (c *courier) gather(ctx context.Context, sent *sync.WaitGroup) {
	moment := time.NewTimer(c.every)
	defer moment.Stop()
	for {
		select {
		case <-c.due:
		case <-ctx.Done():
			return
		}
		moment.Reset(c.every)
		select {
		case <-moment.C:
		case <-c.full:
		case <-ctx.Done():
			return
		}
		for notes, parcels := c.take(c.origin.reach.now()); len(notes)+len(parcels) > 0; notes, parcels = c.take(c.origin.reach.now()) {
			c.slots <- struct{}{}
			sent.Go(func() {
				defer func() { <-c.slots }()
				c.deliver(context.WithoutCancel(ctx), notes, parcels)
			})
		}
	}
}

// take takes a batch of what waits; notes only if they are to be tried at the time now, or if that is zero.
func (c *courier) take(now time.Time) (notes []note, parcels []*parcel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, weight := 0, 0
	for n < len(c.parcels) && n < maxReports && (n == 0 || weight+c.parcels[n].weight <= maxWeight) {
		weight += c.parcels[n].weight
		n++
	}
	parcels, c.parcels = c.parcels[:n:n], c.parcels[n:]
	c.weight -= weight
	if len(c.parcels) == 0 {
		c.parcels = nil
	}
	if now.IsZero() || !now.Before(c.notesFrom) {
		n = min(len(c.notes), maxNotes)
		notes, c.notes = c.notes[:n:n], c.notes[n:]
		for _, m := range notes {
			c.noteBytes -= len(m.text)
		}
	}
	if len(c.notes) == 0 && c.notesLost {
		c.notesLost = false
		c.noted = seen{}
		c.renote() // only now: there is room again
	}
	return notes, parcels
}

// deliver hands a batch over, or keeps it, and answers those who wait. It reports whether the origin has the batch.
func (c *courier) deliver(ctx context.Context, notes []note, parcels []*parcel) bool {
	if n, _ := c.backlog.size(); n > 0 {
		parcels = c.queueUp(parcels)
	}
	if len(notes)+len(parcels) == 0 {
		return true
	}
	reports := make([]report, len(parcels))
	for i, p := range parcels {
		reports[i] = p.report
	}
	got, err := relayed{}, error(errPaused)
	if len(reports) == 0 || c.origin.reach.allows() {
		got, err = c.send(ctx, notes, reports)
	}
	if !got.taken {
		c.putBack(notes, got.after)
	}
	answers := got.answers
	if err != nil {
		c.log.Debug("telemetry not handed over", "reports", len(reports)-len(answers), "notes", len(notes), "error", err)
		answers = append(answers, c.keep(reports[len(answers):])...)
	}
	for i, p := range parcels {
		p.reply <- answers[i]
	}
	return err == nil && got.taken
}

// queueUp puts app metrics behind those in the backlog, answers their devices, and returns the other parcels. A user's later answer to
// a question of consent must not arrive before an earlier one; in the plugin's reports the order means nothing.
func (c *courier) queueUp(parcels []*parcel) (others []*parcel) {
	var metrics []report
	var waiting []*parcel
	for _, p := range parcels {
		if p.path == pathTelemetry {
			metrics, waiting = append(metrics, p.report), append(waiting, p)
			continue
		}
		others = append(others, p)
	}
	for i, a := range c.keep(metrics) {
		waiting[i].reply <- a
	}
	return others
}

// putBack makes notes wait for another attempt.
func (c *courier) putBack(notes []note, after time.Duration) {
	if len(notes) == 0 {
		return
	}
	after = max(after, time.Second)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notes = append(notes, c.notes...)
	for _, n := range notes {
		c.noteBytes += len(n.text)
	}
	c.notesFrom = c.origin.reach.now().Add(after)
	time.AfterFunc(after, func() { raise(c.due) })
}

// send hands notes and reports over: together, or, if the origin refuses that, one report after the other and no notes. It returns
// the answers to as many reports, from the first on, as the origin has answered; with an error, these are not all.
func (c *courier) send(ctx context.Context, notes []note, reports []report) (relayed, error) {
	if len(reports) == 1 && !reports[0].fits() {
		return c.sendEach(ctx, reports)
	}
	got, err := c.origin.relay(ctx, notes, reports)
	var refused *errRefused
	if !errors.As(err, &refused) {
		if err == nil {
			c.counts.batches.Add(1)
		}
		return got, err
	}
	if c.trouble.now(c.origin.reach.now()) {
		c.log.Error("the origin refuses telemetry in batches; reports are sent one by one and notes dropped", "error", err)
	}
	c.dropNotes(len(notes))
	return c.sendEach(ctx, reports)
}

func (c *courier) sendEach(ctx context.Context, reports []report) (relayed, error) {
	got := relayed{taken: true}
	for _, r := range reports {
		a, err := c.origin.post(ctx, r)
		if err != nil {
			return got, err
		}
		got.answers = append(got.answers, a)
	}
	return got, nil
}

func (c *courier) dropNotes(n int) {
	c.counts.dropped.Add(int64(n))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notesLost = c.notesLost || n > 0
}

// keep puts reports into the backlog and returns what to answer: that all is well only if the backlog outlives a crash.
func (c *courier) keep(reports []report) []answer {
	if len(reports) == 0 {
		return nil
	}
	kept, err := c.backlog.add(reports)
	if err != nil && c.trouble.now(c.origin.reach.now()) {
		c.log.Error("the backlog takes no telemetry; devices are asked to keep it", "error", err)
	}
	if c.backlog.durable() {
		c.counts.kept.Add(int64(kept))
	}
	if kept > 0 {
		raise(c.more)
	}
	answers := make([]answer, len(reports))
	for i := range answers {
		answers[i] = healthy()
		if i >= kept || !c.backlog.durable() {
			answers[i] = c.unavailable
			c.counts.busy.Add(1)
		}
	}
	return answers
}

// waiting returns how many notes wait.
func (c *courier) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.notes)
}
