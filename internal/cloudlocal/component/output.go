package component

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

// announcement is how Loopback.java and loopback.js print the port they listen on.
const announcement = "palier: listening on port "

const (
	keptLines    = 20   // of the last output, for an error
	keptLineSize = 2000 // bytes
)

// output passes on what a server prints, keeps its last lines, and watches for its announcement.
type output struct {
	announced chan string // receives the port

	mu   sync.Mutex
	to   io.Writer
	line []byte   // the line that has not ended yet
	last []string // the last whole lines
}

func newOutput(to io.Writer) *output { return &output{to: to, announced: make(chan string, 1)} }

// Write never fails: a server must not stall because nobody can read its words.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, _ = o.to.Write(p)
	for rest := p; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		o.line = append(o.line, line[:min(len(line), keptLineSize-min(keptLineSize, len(o.line)))]...)
		if whole {
			o.end()
		}
		rest = after
	}
	return len(p), nil
}

// end files the line that has ended.
func (o *output) end() {
	line := strings.TrimSpace(string(o.line))
	o.line = o.line[:0]
	if port, ok := strings.CutPrefix(line, announcement); ok {
		select {
		case o.announced <- port:
		default:
		}
		return
	}
	if line == "" {
		return
	}
	o.last = append(o.last, line)
	if len(o.last) > keptLines {
		o.last = o.last[1:]
	}
}

// quoted is the last lines as an appendix to an error; "" if there are none.
func (o *output) quoted() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := o.last
	if len(o.line) > 0 {
		lines = append(lines[:len(lines):len(lines)], string(o.line))
	}
	if len(lines) == 0 {
		return "; it printed nothing"
	}
	return "; it printed:\n\t" + strings.Join(lines, "\n\t")
}
