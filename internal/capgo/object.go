package capgo

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

// quoted returns how f's key and colon look in compact JSON; for fUnknown a text that no JSON begins with.
func (f field) quoted() string { return quotedKeys[f] }

// name returns f's key.
func (f field) name() string {
	if f >= fUnknown {
		return ""
	}
	return quotedKeys[f][1 : len(quotedKeys[f])-2]
}

var quotedKeys = [numFields]string{
	fPlatform:       `"platform":`,
	fDeviceID:       `"device_id":`,
	fAppID:          `"app_id":`,
	fCustomID:       `"custom_id":`,
	fVersionBuild:   `"version_build":`,
	fVersionCode:    `"version_code":`,
	fVersionOS:      `"version_os":`,
	fVersionName:    `"version_name":`,
	fPluginVersion:  `"plugin_version":`,
	fIsEmulator:     `"is_emulator":`,
	fIsProd:         `"is_prod":`,
	fInstallSource:  `"install_source":`,
	fDefaultChannel: `"defaultChannel":`,
	fKeyID:          `"key_id":`,
	fOldVersionName: `"old_version_name":`,
	fAction:         `"action":`,
	fTimestamp:      `"timestamp":`,
	fMetadata:       `"metadata":`,
	fChannel:        `"channel":`,
	fVersion:        `"version":`,
	fManifest:       `"manifest":`,
	fFileName:       `"file_name":`,
	fFileHash:       `"file_hash":`,
	fDownloadURL:    `"download_url":`,
	fUnknown:        "\x00",
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
	i := space(b, 0)
	if i >= len(b) || b[i] != '{' {
		return false
	}
	if i = o.read(b, i, 0); i == fail {
		return false
	}
	return space(b, i) == len(b)
}

// read reads the object whose brace is at i and returns the position after it, or fail. Of equal keys the last one
// counts.
func (o *object) read(b []byte, i, depth int) int {
	o.clear()
	if i = space(b, i+1); i < len(b) && b[i] == '}' {
		return i + 1
	}
	last := fUnknown
	for {
		f := o.after[last]
		key := f.quoted()
		if len(b)-i >= len(key) && string(b[i:i+len(key)]) == key {
			i += len(key)
		} else {
			if f, i = o.key(b, i); i == fail {
				return fail
			}
			o.after[last] = f
		}
		last = f
		o.members++
		if i = o.value(b, i, f, depth); i == fail {
			return fail
		}
		if i < len(b) && b[i] <= ' ' {
			i = space(b, i)
		}
		if i >= len(b) || b[i] != ',' {
			break
		}
		if i++; i < len(b) && b[i] <= ' ' {
			i = space(b, i)
		}
	}
	if i >= len(b) || b[i] != '}' {
		return fail
	}
	return i + 1
}

// key reads a key that was not the expected one, and its colon.
func (o *object) key(b []byte, i int) (field, int) {
	if i >= len(b) || b[i] != '"' {
		return fUnknown, fail
	}
	end, verbatim := closing(b, i+1)
	if end == fail {
		return fUnknown, fail
	}
	name := o.string(b, i+1, end, verbatim)
	if i = space(b, end+1); i >= len(b) || b[i] != ':' {
		return fUnknown, fail
	}
	return fieldNamed(name), i + 1
}

// string returns the value of the string whose text is b[i:end].
func (o *object) string(b []byte, i, end int, verbatim bool) string {
	if verbatim {
		return view(b, i, end)
	}
	from := len(o.scratch)
	o.scratch = unescape(o.scratch, b[i:end])
	return view(o.scratch, from, len(o.scratch))
}

// value reads f's value.
func (o *object) value(b []byte, i int, f field, depth int) int {
	if i < len(b) && b[i] <= ' ' {
		i = space(b, i)
	}
	if i >= len(b) {
		return fail
	}
	if b[i] != '"' {
		return o.otherValue(b, i, f, depth)
	}
	end := plain(b, i+1)
	if end >= len(b) {
		return fail
	}
	if b[end] != '"' {
		return o.hardText(b, i+1, f)
	}
	if o.seen().has(f) {
		o.forget(f)
	}
	o.texts |= 1 << f
	o.text[f] = view(b, i+1, end)
	return end + 1
}

// hardText reads the string whose text starts at i and has escapes, or characters beyond ASCII, or faults.
func (o *object) hardText(b []byte, i int, f field) int {
	end, verbatim := closing(b, i)
	if end == fail {
		return fail
	}
	o.set(f, isText, o.string(b, i, end, verbatim))
	return end + 1
}

// otherValue reads a value that is no string.
func (o *object) otherValue(b []byte, i int, f field, depth int) int {
	end := skip(b, i, depth+1)
	if end == fail {
		return fail
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
