package fleet

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
)

// ackLog writes one JSON line for every event that the server acknowledged:
//
//	{"path":"/stats","device_id":"…","action":"set","version_name":"1.4.0","timestamp":1790000000000}
//
// device_id is in lower case, as servers keep it; path tells the plugin's statistics from app metrics, whose type is
// the action; timestamp is the device's clock when the event happened, which plugins before 8.42 and Android's download
// worker do not send. An event that was sent twice is logged once. What a server lost is in the log and not in its
// store.
type ackLog struct {
	out  io.Writer // nil for no log
	mu   sync.Mutex
	buf  []byte
	fail error
}

// events logs the statistics of one request, but for the refused ones; a nil refused means none.
func (l *ackLog) events(d *device, events []event, refused []bool) {
	l.write(func(b []byte) []byte {
		for i, e := range events {
			if refused == nil || !refused[i] {
				b = appendAck(b, "/stats", d.id, e.action, e.version, e.at)
			}
		}
		return b
	})
}

// samples logs the app metrics of one request, but for the refused ones.
func (l *ackLog) samples(d *device, samples []sample, refused []bool) {
	l.write(func(b []byte) []byte {
		for i, s := range samples {
			if refused == nil || !refused[i] {
				b = appendAck(b, "/telemetry", d.id, s.name, s.version, s.at)
			}
		}
		return b
	})
}

func (l *ackLog) write(lines func([]byte) []byte) {
	if l.out == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = lines(l.buf[:0])
	if l.fail != nil || len(l.buf) == 0 {
		return
	}
	if _, err := l.out.Write(l.buf); err != nil {
		l.fail = fmt.Errorf("fleet: write the log of acknowledged events: %w", err)
	}
}

// err returns the first error of a write, after which nothing more was logged.
func (l *ackLog) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fail
}

func appendAck(b []byte, path, device, action, version string, at int64) []byte {
	b = appendPair(append(b, '{'), "path", path)
	b = appendPair(append(b, ','), "device_id", lower(device))
	b = appendPair(append(b, ','), "action", action)
	b = appendPair(append(b, ','), "version_name", version)
	b = strconv.AppendInt(append(b, `,"timestamp":`...), at, 10)
	return append(b, "}\n"...)
}

// lower is a device id as servers keep it.
func lower(id string) string { return strings.ToLower(id) }
