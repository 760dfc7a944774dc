package edgehost

// Corrupt overwrites the memory of one instance that answers, as no module should, so that it traps sooner or later.
func (m *Module) Corrupt() {
	i := <-m.idle
	size := i.module.Memory().Size()
	i.module.Memory().Write(0, make([]byte, size))
	m.idle <- i
}

// MemoryBytes returns how much memory each instance has, when none is answering.
func (m *Module) MemoryBytes() (sizes []uint32) {
	m.loading.Lock()
	defer m.loading.Unlock()
	var all []*Instance
	for range cap(m.idle) {
		all = append(all, <-m.idle)
	}
	for _, i := range all {
		m.idle <- i
	}
	for _, i := range append(all, m.spare) {
		sizes = append(sizes, i.MemoryBytes())
	}
	return sizes
}

// Mended waits until all instances that failed have been replaced.
func (m *Module) Mended() { m.mending.Wait() }
