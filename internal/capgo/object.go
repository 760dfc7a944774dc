package capgo

import (
	"encoding/binary"
	"math/bits"
	"strings"

	"github.com/palier-ota/palier/internal/jsontext"
)

// field is a key that the protocol knows.
type field uint8

// The known keys, in the order in which the Android plugin sends them, and unknown for every other.
const (
	fPlatform field = iota
	fDeviceID
	fAppID
	fCustomID
	fVersionBuild
	fVersionCode
	fVersionOS
	fVersionName
	fPluginVersion
	fIsEmulator
	fIsProd
	fInstallSource
	fDefaultChannel
	fKeyID
	fOldVersionName
	fAction
	fTimestamp
	fMetadata
	fChannel
	fVersion
	fManifest
	fFileName
	fFileHash
	fDownloadURL
	fUnknown
	numFields
)

// name returns f's key, or "" for fUnknown.
func (f field) name() string {
	_, rest, _ := strings.Cut(openings[f], `"`)
	name, _, _ := strings.Cut(rest, `"`)
	return name
}

// openings has, for each known field, how it begins in compact JSON: key, colon and, if its value is a string, the quote.
var openings = [numFields]string{
	fPlatform:       `"platform":"`,
	fDeviceID:       `"device_id":"`,
	fAppID:          `"app_id":"`,
	fCustomID:       `"custom_id":"`,
	fVersionBuild:   `"version_build":"`,
	fVersionCode:    `"version_code":"`,
	fVersionOS:      `"version_os":"`,
	fVersionName:    `"version_name":"`,
	fPluginVersion:  `"plugin_version":"`,
	fIsEmulator:     `"is_emulator":`,
	fIsProd:         `"is_prod":`,
	fInstallSource:  `"install_source":"`,
	fDefaultChannel: `"defaultChannel":"`,
	fKeyID:          `"key_id":"`,
	fOldVersionName: `"old_version_name":"`,
	fAction:         `"action":"`,
	fTimestamp:      `"timestamp":`,
	fMetadata:       `"metadata":`,
	fChannel:        `"channel":"`,
	fVersion:        `"version":"`,
	fManifest:       `"manifest":`,
	fFileName:       `"file_name":"`,
	fFileHash:       `"file_hash":"`,
	fDownloadURL:    `"download_url":"`,
}

// words is an opening as three overlapping words of eight bytes, at 0, at middle and at length-8, which can be compared
// without a call. All openings have 8 to 23 bytes, except that of fUnknown, which matches nothing.
type words struct {
	first, second, third uint64
	middle, length       int
}

var openingWords = wordsOf(openings)

func wordsOf(openings [numFields]string) (all [numFields]words) {
	for f, opening := range openings {
		if opening == "" {
			continue
		}
		b := []byte(opening)
		w := words{length: len(b), middle: min(8, len(b)-8)}
		w.first = binary.LittleEndian.Uint64(b)
		w.second = binary.LittleEndian.Uint64(b[w.middle:])
		w.third = binary.LittleEndian.Uint64(b[len(b)-8:])
		all[f] = w
	}
	return all
}

// predicted returns the length of f's opening if that is what b has at i, else 0.
func predicted(b []byte, i int, f field) int {
	if len(b)-i < 24 {
		return 0
	}
	w := &openingWords[f]
	head := b[i : i+24]
	if binary.LittleEndian.Uint64(head) != w.first ||
		binary.LittleEndian.Uint64(head[w.middle&15:]) != w.second ||
		binary.LittleEndian.Uint64(head[(w.length-8)&15:]) != w.third {
		return 0
	}
	return w.length
}

// fieldNamed returns the field of a key.
func fieldNamed(key string) field {
	switch key {
	case "platform":
		return fPlatform
	case "device_id":
		return fDeviceID
	case "app_id":
		return fAppID
	case "custom_id":
		return fCustomID
	case "version_build":
		return fVersionBuild
	case "version_code":
		return fVersionCode
	case "version_os":
		return fVersionOS
	case "version_name":
		return fVersionName
	case "plugin_version":
		return fPluginVersion
	case "is_emulator":
		return fIsEmulator
	case "is_prod":
		return fIsProd
	case "install_source":
		return fInstallSource
	case "defaultChannel":
		return fDefaultChannel
	case "key_id":
		return fKeyID
	case "old_version_name":
		return fOldVersionName
	case "action":
		return fAction
	case "timestamp":
		return fTimestamp
	case "metadata":
		return fMetadata
	case "channel":
		return fChannel
	case "version":
		return fVersion
	case "manifest":
		return fManifest
	case "file_name":
		return fFileName
	case "file_hash":
		return fFileHash
	case "download_url":
		return fDownloadURL
	}
	return fUnknown
}

// shape is the JSON type of a value.
type shape uint8

const (
	absent shape = iota
	isText
	isTrue
	isFalse
	isOther // null, a number, an array or an object: text holds its JSON
)

// fieldSet is a set of fields, one bit each.
type fieldSet uint32

func (s fieldSet) has(f field) bool { return s>>f&1 != 0 }

// object holds the known members of one JSON object. It is meant to be reused: read overwrites what it held, and the
// key order it has learned stays.
type object struct {
	text [numFields]string // meaningful only for the fields in texts, whose value it is, and in others, whose JSON it is

	texts, trues, falses, others fieldSet // which field has a value of which shape: each field is in one set at most

	members int              // how many keys the object had, unknown ones included
	after   [numFields]field // the key that last followed this one; fUnknown's slot is for the first key
	scratch []byte           // values that are not views of the body; only ever appended to between two resets
	refusal Refusal          // what the object was refused for last
}

// reset makes the scratch memory free again, which ends the life of every string read so far.
func (o *object) reset() {
	o.scratch = o.scratch[:0]
	o.clear()
}

func (o *object) clear() {
	o.texts, o.trues, o.falses, o.others = 0, 0, 0, 0
	o.members = 0
}

// seen returns the fields that the object has.
func (o *object) seen() fieldSet { return o.texts | o.trues | o.falses | o.others }

// shape returns the shape of f's value.
func (o *object) shape(f field) shape {
	switch {
	case o.texts.has(f):
		return isText
	case o.trues.has(f):
		return isTrue
	case o.falses.has(f):
		return isFalse
	case o.others.has(f):
		return isOther
	}
	return absent
}

// forget makes f absent.
func (o *object) forget(f field) {
	rest := ^(fieldSet(1) << f)
	o.texts &= rest
	o.trues &= rest
	o.falses &= rest
	o.others &= rest
}

// set gives f a value of shape s, and text where the shape has one. It replaces the value f may have had.
func (o *object) set(f field, s shape, text string) {
	o.forget(f)
	bit := fieldSet(1) << f
	switch s {
	case isText:
		o.texts |= bit
		o.text[f] = text
	case isTrue:
		o.trues |= bit
	case isFalse:
		o.falses |= bit
	case isOther:
		o.others |= bit
		o.text[f] = text
	}
}

// whole reads a body that must be one JSON object and nothing else.
func (o *object) whole(b []byte) (ok bool) {
	i := jsontext.Space(b, 0)
	if i >= len(b) || b[i] != '{' {
		return false
	}
	if i = o.read(b, i, 0); i == jsontext.Fail {
		return false
	}
	return jsontext.Space(b, i) == len(b)
}

// read reads the object whose brace is at i and returns the position after it, or fail. Of equal keys the last one
// counts.
func (o *object) read(b []byte, i, depth int) int {
	o.clear()
	if i = jsontext.Space(b, i+1); i < len(b) && b[i] == '}' {
		return i + 1
	}
	last := fUnknown
	for {
		f := o.after[last]
		if n := predicted(b, i, f); n != 0 {
			i += n
			if b[i-1] == '"' {
				i = o.textAt(b, i, f)
			} else {
				i = o.value(b, i, f, depth)
			}
		} else if f, i = o.key(b, jsontext.Space(b, i)); i != jsontext.Fail {
			o.after[last] = f
			i = o.value(b, jsontext.Space(b, i), f, depth)
		}
		if i == jsontext.Fail {
			return jsontext.Fail
		}
		last = f
		o.members++
		if i < len(b) && b[i] != ',' {
			i = jsontext.Space(b, i)
		}
		if i >= len(b) || b[i] != ',' {
			break
		}
		i++
	}
	if i >= len(b) || b[i] != '}' {
		return jsontext.Fail
	}
	return i + 1
}

// key reads a key that was not the expected one, and its colon.
func (o *object) key(b []byte, i int) (field, int) {
	if i >= len(b) || b[i] != '"' {
		return fUnknown, jsontext.Fail
	}
	end, verbatim := jsontext.Plain(b, i+1), true
	if end >= len(b) || b[end] != '"' {
		if end, verbatim = jsontext.Closing(b, i+1); end == jsontext.Fail {
			return fUnknown, jsontext.Fail
		}
	}
	f := fieldNamed(o.string(b, i+1, end, verbatim))
	if i = jsontext.Space(b, end+1); i >= len(b) || b[i] != ':' {
		return fUnknown, jsontext.Fail
	}
	return f, i + 1
}

// string returns the value of the string whose text is b[i:end].
func (o *object) string(b []byte, i, end int, verbatim bool) string {
	if verbatim {
		return view(b, i, end)
	}
	from := len(o.scratch)
	o.scratch = jsontext.Unescape(o.scratch, b[i:end])
	return view(o.scratch, from, len(o.scratch))
}

// value reads the value of f that begins at i.
func (o *object) value(b []byte, i int, f field, depth int) int {
	if i < len(b) && b[i] == '"' {
		return o.textAt(b, i+1, f)
	}
	return o.otherValue(b, jsontext.Space(b, i), f, depth)
}

// textAt reads the string whose text starts at i.
func (o *object) textAt(b []byte, i int, f field) int {
	end := i
	for { // what jsontext.Plain does, without the call
		if len(b)-end < 8 {
			end = jsontext.Plain(b, end)
			break
		}
		if a := jsontext.Alarm(binary.LittleEndian.Uint64(b[end:])); a != 0 {
			end += bits.TrailingZeros64(a) >> 3
			break
		}
		end += 8
	}
	if end >= len(b) || b[end] != '"' {
		return o.hardText(b, i, f)
	}
	if o.seen().has(f) {
		o.forget(f)
	}
	o.texts |= 1 << f
	o.text[f] = view(b, i, end)
	return end + 1
}

// hardText reads the string whose text starts at i and has escapes, or characters beyond ASCII, or faults.
func (o *object) hardText(b []byte, i int, f field) int {
	end, verbatim := jsontext.Closing(b, i)
	if end == jsontext.Fail {
		return jsontext.Fail
	}
	o.set(f, isText, o.string(b, i, end, verbatim))
	return end + 1
}

// otherValue reads a value that is no string.
func (o *object) otherValue(b []byte, i int, f field, depth int) int {
	end := jsontext.Skip(b, i, depth+1)
	if end == jsontext.Fail {
		return jsontext.Fail
	}
	switch b[i] {
	case 't':
		o.set(f, isTrue, "")
	case 'f':
		o.set(f, isFalse, "")
	default:
		o.set(f, isOther, view(b, i, end))
	}
	return end
}

// get returns f's text, or "" if its value is no string.
func (o *object) get(f field) string {
	if !o.texts.has(f) {
		return ""
	}
	return o.text[f]
}
