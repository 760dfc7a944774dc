//go:build tinygo

package resolve

// The module for edges has no room for words: it says that a Spec makes no sense, and `palier snapshot verify` says why.

func specError(string, string) *SpecError { return &SpecError{} }

func within(_ string, err error) error { return err }

func quote(string) string { return "" }

func (r *reader) path(int) string { return "" }
