package resolve

// SpecError says what is wrong with a Spec. A Spec made by NewSpec from a valid State never has one; a stored or shipped
// one that does was damaged or forged, and the remedy is to publish it anew.
type SpecError struct {
	Where   string // "channel production: bundle"
	Problem string
}

// Compile turns a Spec into a Snapshot, or returns a *SpecError. It takes nothing for granted: names that lead nowhere,
// lists out of order, lengths that do not fit and numbers out of range are errors, whatever the Spec. The Snapshot
// shares the Spec's strings and slices, which must not change afterwards.
func Compile(spec Spec) (*Snapshot, error) {
	if err := checkSize(&spec); err != nil {
		return nil, err
	}
	s := &Snapshot{
		app: spec.App, revision: spec.Revision, generation: spec.Generation, owned: spec.Owned,
		exposeMetadata: spec.ExposeMetadata, allowDeviceCustomID: spec.AllowDeviceCustomID,
	}
	for _, step := range [...]func(*Spec) error{
		s.compileVersions, s.compileBundles, s.compileSegments, s.compileChannels, s.compileRollouts,
	} {
		if err := step(&spec); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Error returns where and what.
func (e *SpecError) Error() string { return "snapshot: " + e.Where + ": " + e.Problem }

// outOfOrder says that a list is not sorted, each element once.
func outOfOrder(where, at string) *SpecError {
	return specError(where, "not in ascending order at "+quote(at))
}
