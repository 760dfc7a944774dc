package capgo

import (
	"strconv"
	"unsafe"

	"github.com/palier-ota/palier/internal/jsontext"
)

// Bounds of an event's metadata, in fields and in characters.
const (
	maxMetadata      = 30
	maxMetadataKey   = 64
	maxMetadataValue = 2048
)

// raw returns the bytes of a view, not to be written to.
func raw(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// metadata returns the event's metadata, or the refusal of one that is not an object of strings within bounds.
func (o *object) metadata() (map[string]string, *Refusal) {
	if o.shape(fMetadata) == absent {
		return nil, nil
	}
	if !o.others.has(fMetadata) || o.text[fMetadata][0] != '{' {
		return nil, o.badField(fMetadata, "must be an object of strings")
	}
	pairs, ok := o.pairs(raw(o.text[fMetadata]))
	if !ok {
		return nil, o.badField(fMetadata, "must be an object of strings")
	}
	if len(pairs) > maxMetadata {
		return nil, o.badField(fMetadata, "must have at most 30 fields")
	}
	for key, value := range pairs {
		if longer(key, maxMetadataKey) || longer(value, maxMetadataValue) {
			return nil, o.badField(fMetadata, "keys have at most 64 characters and values at most 2048")
		}
	}
	return pairs, nil
}

// pairs reads an object that the scanner has accepted already; it reports false if a value is no string.
func (o *object) pairs(b []byte) (map[string]string, bool) {
	pairs := map[string]string{}
	i := jsontext.Space(b, 1)
	for b[i] == '"' {
		end, verbatim := jsontext.Closing(b, i+1)
		key := o.string(b, i+1, end, verbatim)
		i = jsontext.Space(b, jsontext.Space(b, end+1)+1)
		if b[i] != '"' {
			return nil, false
		}
		end, verbatim = jsontext.Closing(b, i+1)
		pairs[key] = o.string(b, i+1, end, verbatim)
		if i = jsontext.Space(b, end+1); b[i] == ',' {
			i = jsontext.Space(b, i+1)
		}
	}
	return pairs, true
}

// timestamp returns the event's client time in Unix milliseconds, or 0 if it is missing or makes no sense. It never
// costs an event: a device's clock is not to be relied on anyway.
func (o *object) timestamp() int64 {
	if !o.others.has(fTimestamp) {
		return 0
	}
	const latest = 1 << 53 // beyond it a double is no exact integer any more
	ms, err := strconv.ParseFloat(o.text[fTimestamp], 64)
	if err != nil || !(ms >= 0 && ms <= latest) {
		return 0
	}
	return int64(ms)
}
