package edgehost

import (
	"bytes"
	"fmt"
)

// header is what the second line of a sealed Snapshot says: package internal/seal. The module has verified it, or the Snapshot
// would not be held.
type header struct {
	revision, issued, expires int64 // times in Unix seconds
}

// headerOf reads the header of a sealed Snapshot; the zero header if it has none.
func headerOf(sealed []byte) header {
	var h header
	_, rest, _ := bytes.Cut(sealed, []byte("\n"))
	line, _, _ := bytes.Cut(rest[:min(len(rest), maxHeader)], []byte("\n"))
	var app string
	if _, err := fmt.Sscanf(string(line), "palier-snapshot 1 %s %d %d %d", &app, &h.revision, &h.issued, &h.expires); err != nil {
		return header{}
	}
	return h
}

// maxHeader is the longest header line, in bytes.
const maxHeader = 1 << 10

// etag is how the origin names the Snapshot in conditional requests.
func (h header) etag() string { return fmt.Sprintf(`"%d-%d"`, h.revision, h.issued) }
