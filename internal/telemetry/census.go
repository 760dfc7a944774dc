package telemetry

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
)

// Limits of a Census, in bytes of its stored form. The zero value stands for the defaults.
type Limits struct {
	Leaf    int // a leaf that grows beyond this is cut; default 128 KiB
	Patch   int // a patch is added to until it has this size; default 4 KiB
	Journal int // patches are merged into the leaves when they exceed this and an eighth of them; default 128 KiB
}

// journalShare is how much smaller than the leaves the journal may grow. Merging rewrites the leaves once for so much
// news, which bounds the bytes written per event however many devices there are.
const journalShare = 8

func (l Limits) withDefaults() Limits {
	return Limits{
		Leaf:    cmp.Or(l.Leaf, 128<<10),
		Patch:   cmp.Or(l.Patch, 4<<10),
		Journal: cmp.Or(l.Journal, 128<<10),
	}
}

// Leaf is a page of the devices from a fingerprint on, up to the next leaf's.
type Leaf struct {
	Low  uint64
	Data []byte
}

// Patch is a page of devices whose Records changed after their leaf was written.
type Patch struct {
	Sequence int64
	Data     []byte
}

// Census is the Records of one rollout's devices in one shard: leaves, sorted and rarely rewritten, and a journal of
// patches. Since Records merge, a device may stand in a leaf and in any number of patches; what is known of it is the
// merge of them all, so a patch that was already merged into its leaf does no harm. A Census is not safe for
// concurrent use.
type Census struct {
	limits  Limits
	leaves  []Leaf            // by Low; the first starts at 0
	recent  map[uint64]Record // what the journal knows, merged with the leaves' word
	journal []journalEntry    // by sequence
	open    map[uint64]bool   // devices of the last journal entry while it may still be added to
	bytes   int               // of leaves and patches

	indexes map[uint64]*pageIndex // of the leaves looked into so far, by Low
}

type journalEntry struct {
	sequence int64
	size     int
}

// OpenCensus returns the Census with the given stored form, in any order. No leaves and patches make an empty one. It
// fails with ErrCorrupt when a page cannot be read.
func OpenCensus(leaves []Leaf, patches []Patch, limits Limits) (*Census, error) {
	c := &Census{limits: limits.withDefaults(), recent: map[uint64]Record{}, indexes: map[uint64]*pageIndex{}}
	c.leaves = slices.Clone(leaves)
	slices.SortFunc(c.leaves, func(a, b Leaf) int { return cmp.Compare(a.Low, b.Low) })
	if len(c.leaves) == 0 || c.leaves[0].Low != 0 {
		c.leaves = slices.Insert(c.leaves, 0, Leaf{Data: EncodePage(nil)})
	}
	for _, leaf := range c.leaves {
		c.bytes += len(leaf.Data)
	}
	patches = slices.SortedFunc(slices.Values(patches), func(a, b Patch) int { return cmp.Compare(a.Sequence, b.Sequence) })
	for _, p := range patches {
		if err := c.replay(p); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// replay takes a stored patch into the journal.
func (c *Census) replay(p Patch) error {
	devices, err := DecodePage(p.Data)
	if err != nil {
		return fmt.Errorf("patch %d: %w", p.Sequence, err)
	}
	c.open = map[uint64]bool{}
	for _, d := range devices {
		c.recent[d.Fingerprint] = c.recent[d.Fingerprint].Merge(d.Record)
		c.open[d.Fingerprint] = true
	}
	c.noteJournal(p)
	return nil
}

// noteJournal records that p is the last journal entry, closing it if it is large enough.
func (c *Census) noteJournal(p Patch) {
	if n := len(c.journal); n > 0 && c.journal[n-1].sequence == p.Sequence {
		c.bytes -= c.journal[n-1].size
		c.journal = c.journal[:n-1]
	}
	c.journal = append(c.journal, journalEntry{p.Sequence, len(p.Data)})
	c.bytes += len(p.Data)
	if len(p.Data) >= c.limits.Patch {
		c.open = nil
	}
}

// Bytes returns the size of the stored form.
func (c *Census) Bytes() int { return c.bytes }

// Change is what news does to one device.
type Change struct {
	Device   uint64
	Old, New Record
}

// AddTo adds to d what the change does to the tallies.
func (c Change) AddTo(d Delta) {
	d.add(c.Old, -1)
	d.add(c.New, 1)
}

// Diff returns what the observed Records, in any order, would change, by device. The Census stays as it is.
func (c *Census) Diff(observed []Device) ([]Change, error) {
	news := joinDevices(observed)
	old, err := c.lookup(news)
	if err != nil {
		return nil, err
	}
	var changes []Change
	for i, d := range news {
		if merged := old[i].Merge(d.Record); !merged.Equal(old[i]) {
			changes = append(changes, Change{d.Fingerprint, old[i], merged})
		}
	}
	return changes, nil
}

// joinDevices returns one merged Device per fingerprint, in order.
func joinDevices(observed []Device) []Device {
	sorted := slices.SortedStableFunc(slices.Values(observed), compareDevices)
	out := sorted[:0]
	for start := 0; start < len(sorted); {
		end := start + 1
		for end < len(sorted) && sorted[end].Fingerprint == sorted[start].Fingerprint {
			end++
		}
		out = append(out, joinRun(sorted[start:end]))
		start = end
	}
	return out
}

func compareDevices(a, b Device) int { return cmp.Compare(a.Fingerprint, b.Fingerprint) }

// joinRun merges what was observed of one device at once, which is cheaper than one by one.
func joinRun(run []Device) Device {
	if len(run) == 1 {
		return run[0]
	}
	var r Record
	for _, d := range run {
		r.entries = append(r.entries, d.Record.entries...)
		r.marks = append(r.marks, d.Record.marks...)
	}
	return Device{run[0].Fingerprint, r.normalise()}
}

// lookup returns the Records of devices, which are in order, beside them.
func (c *Census) lookup(devices []Device) ([]Record, error) {
	found := make([]Record, len(devices))
	missing := make([]int, 0, len(devices))
	for i, d := range devices {
		if r, ok := c.recent[d.Fingerprint]; ok {
			found[i] = r
		} else {
			missing = append(missing, i)
		}
	}
	for n := range c.leaves {
		end := len(missing)
		if n+1 < len(c.leaves) {
			end, _ = slices.BinarySearchFunc(missing, c.leaves[n+1].Low, func(i int, low uint64) int {
				return cmp.Compare(devices[i].Fingerprint, low)
			})
		}
		if err := c.find(n, devices, missing[:end], found); err != nil {
			return nil, err
		}
		missing = missing[end:]
	}
	return found, nil
}

// find sets found[i] for each i of wanted, which is in order, whose device stands in the n-th leaf.
func (c *Census) find(n int, devices []Device, wanted []int, found []Record) error {
	if len(wanted) == 0 {
		return nil
	}
	low := c.leaves[n].Low
	index := c.indexes[low]
	if index == nil {
		var err error
		if index, err = newPageIndex(c.leaves[n].Data); err != nil {
			return fmt.Errorf("leaf %016x: %w", low, err)
		}
		c.indexes[low] = index
	}
	fingerprints := func(yield func(int, uint64) bool) {
		for _, i := range wanted {
			if !yield(i, devices[i].Fingerprint) {
				return
			}
		}
	}
	index.find(fingerprints, func(i int, d Device) { found[i] = d.clone().Record })
	return nil
}

// Patch returns the patch to store for changes, which have an order and are not applied yet: a later state of the
// journal's last one while that is small, else a new one with the given sequence, which must be higher than any before.
func (c *Census) Patch(changes []Change, sequence int64) Patch {
	if len(c.open) > 0 {
		sequence = c.journal[len(c.journal)-1].sequence
	}
	after := make(map[uint64]Record, len(changes)+len(c.open))
	for device := range c.open {
		after[device] = c.recent[device]
	}
	for _, change := range changes {
		after[change.Device] = change.New
	}
	return Patch{sequence, EncodePage(devicesOf(after))}
}

func devicesOf(records map[uint64]Record) []Device {
	out := make([]Device, 0, len(records))
	for _, device := range slices.Sorted(maps.Keys(records)) {
		out = append(out, Device{device, records[device]})
	}
	return out
}

// Apply takes changes into the Census after their patch p was stored.
func (c *Census) Apply(changes []Change, p Patch) {
	if c.open == nil {
		c.open = make(map[uint64]bool, len(changes))
	}
	for _, change := range changes {
		c.open[change.Device] = true
		c.recent[change.Device] = change.New
	}
	c.noteJournal(p)
}

// Crowded reports whether the journal has grown so much that it should be merged into the leaves.
func (c *Census) Crowded() bool {
	journal := 0
	for _, e := range c.journal {
		journal += e.size
	}
	return journal > max(c.limits.Journal, (c.bytes-journal)/journalShare)
}

// Rewrites yields the leaves that must be stored to have the whole journal in the leaves; and at most one error, last.
// They may be stored in any number of steps, if in this order: a leaf that is cut is yielded from its last part to its
// first, so that the part that overwrites it comes when the others are there. Only when all are stored may the patches
// of Journal be deleted, and then the Census must be told by Compacted.
func (c *Census) Rewrites() iter.Seq2[Leaf, error] {
	return func(yield func(Leaf, error) bool) {
		news := devicesOf(c.recent)
		for n, leaf := range c.leaves {
			own := news[:c.ownedBy(n, news)]
			news = news[len(own):]
			if len(own) == 0 {
				continue
			}
			parts, err := c.merge(n, own)
			if err != nil {
				yield(Leaf{}, fmt.Errorf("leaf %016x: %w", leaf.Low, err))
				return
			}
			for _, part := range slices.Backward(parts) {
				if !yield(part, nil) {
					return
				}
			}
		}
	}
}

// ownedBy returns how many of devices, which are in order and not below the n-th leaf, belong to it and not to a later
// one.
func (c *Census) ownedBy(n int, devices []Device) int {
	if n+1 == len(c.leaves) {
		return len(devices)
	}
	end, _ := slices.BinarySearchFunc(devices, Device{Fingerprint: c.leaves[n+1].Low}, compareDevices)
	return end
}

// merge returns the n-th leaf with news, cut if it has become too large. What the next leaf took over while a cut was
// stored only in part is left out: it is outdated here.
func (c *Census) merge(n int, news []Device) ([]Leaf, error) {
	devices, err := DecodePage(c.leaves[n].Data)
	if err != nil {
		return nil, err
	}
	devices = devices[:c.ownedBy(n, devices)]
	devices = joinDevices(append(devices, news...))
	low := c.leaves[n].Low
	if whole := EncodePage(devices); len(whole) <= c.limits.Leaf {
		return []Leaf{{low, bytes.Clone(whole)}}, nil
	}
	return cutLeaf(low, devices, c.limits.Leaf*3/4), nil
}

// cutLeaf returns leaves of devices, the first of them starting at low, each of about size bytes or one device: a
// quarter of the limit is left for growth.
func cutLeaf(low uint64, devices []Device, size int) []Leaf {
	var leaves []Leaf
	for len(devices) > 0 {
		w := newPageWriter(devices)
		n := 0
		for n < len(devices) && (n == 0 || len(w.data) < size) {
			w.append(devices[n])
			n++
		}
		leaves = append(leaves, Leaf{low, bytes.Clone(w.data)})
		if devices = devices[n:]; len(devices) > 0 {
			low = devices[0].Fingerprint
		}
	}
	return leaves
}

// Journal returns the sequences of the stored patches.
func (c *Census) Journal() []int64 {
	out := make([]int64, len(c.journal))
	for i, e := range c.journal {
		out[i] = e.sequence
	}
	return out
}

// Compacted tells the Census that rewrites, all of what Rewrites yielded, are stored and all patches deleted.
func (c *Census) Compacted(rewrites []Leaf) {
	leaves := map[uint64]Leaf{}
	for _, leaf := range slices.Concat(c.leaves, rewrites) {
		leaves[leaf.Low] = leaf
	}
	*c = Census{limits: c.limits, recent: map[uint64]Record{}, indexes: c.indexes}
	for _, leaf := range rewrites {
		delete(c.indexes, leaf.Low)
	}
	for _, low := range slices.Sorted(maps.Keys(leaves)) {
		c.leaves = append(c.leaves, leaves[low])
		c.bytes += len(leaves[low].Data)
	}
}
