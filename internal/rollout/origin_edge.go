//go:build tinygo

package rollout

// Edges read Snapshots and never change a State; see origin.go.

func (b Bundle) fingerprint() string { panic("rollout: a State is changed at the origin") }

func absoluteURL(string) bool { panic("rollout: a State is changed at the origin") }
