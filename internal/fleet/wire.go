package fleet

import (
	"encoding/json"
	"strconv"
)

// The bodies are appended by hand: a fleet shares its machine with the server it loads, and encoding by reflection
// would cost as much as the request.

// infoFields is how many fields every body of the plugin begins with.
const infoFields = 13

// appendInfo appends the fields that the plugin puts into every body, without braces, for a bundle name; "" leaves
// version_name out. Android writes them in a fixed order; iOS encodes a dictionary, whose order changes from request to
// request, so there they begin anywhere.
func (f *fleet) appendInfo(b []byte, d *device, versionName string) []byte {
	first := 0
	if d.platform == "ios" {
		first = int(d.dice.Uint64() % infoFields)
	}
	for i := range infoFields {
		before := len(b)
		b = f.appendField(b, d, versionName, (first+i)%infoFields)
		if len(b) > before {
			b = append(b, ',')
		}
	}
	return b[:len(b)-1]
}

// appendField appends one of the fields, in Android's order, or nothing when this plugin does not send it.
func (f *fleet) appendField(b []byte, d *device, versionName string, field int) []byte {
	switch field {
	case 0:
		return appendPair(b, "platform", d.platform)
	case 1:
		return appendPair(b, "device_id", d.id)
	case 2:
		return appendPair(b, "app_id", f.cfg.App)
	case 3:
		return append(b, `"custom_id":""`...)
	case 4:
		return appendPair(b, "version_build", f.cfg.StoreVersion)
	case 5:
		return append(b, `"version_code":"1"`...)
	case 6:
		return appendPair(b, "version_os", d.osVersion)
	case 7:
		if versionName == "" {
			return b
		}
		return appendPair(b, "version_name", versionName)
	case 8:
		return appendPair(b, "plugin_version", d.plugin.version)
	case 9:
		return append(b, `"is_emulator":false`...)
	case 10:
		return strconv.AppendBool(append(b, `"is_prod":`...), d.prod)
	case 11:
		if d.installSource == "-" {
			return b
		}
		return appendPair(b, "install_source", d.installSource)
	default:
		if !d.plugin.defaultChannel {
			return b
		}
		return appendPair(b, "defaultChannel", f.cfg.Channel)
	}
}

// appendCheck appends the body of an update check.
func (f *fleet) appendCheck(b []byte, d *device) []byte {
	return append(f.appendInfo(append(b, '{'), d, f.nameOf(d, d.running)), '}')
}

// appendEvent appends one statistic.
func (f *fleet) appendEvent(b []byte, d *device, e event) []byte {
	b = f.appendInfo(append(b, '{'), d, e.version)
	if d.plugin.oldName {
		b = appendPair(append(b, ','), "old_version_name", e.old)
	}
	b = appendPair(append(b, ','), "action", e.action)
	if d.plugin.batches && !e.worker {
		b = strconv.AppendInt(append(b, `,"timestamp":`...), e.at, 10)
	}
	if e.metadata != "" && d.plugin.exits {
		b = append(append(b, `,"metadata":`...), e.metadata...)
	}
	return append(b, '}')
}

// appendBatch appends an array of statistics.
func (f *fleet) appendBatch(b []byte, d *device, events []event) []byte {
	b = append(b, '[')
	for i, e := range events {
		if i > 0 {
			b = append(b, ',')
		}
		b = f.appendEvent(b, d, e)
	}
	return append(b, ']')
}

// appendSamples appends the body of a /telemetry request. All samples are of one version.
func (f *fleet) appendSamples(b []byte, d *device, samples []sample) []byte {
	b = appendPair(append(b, '{'), "app_id", f.cfg.App)
	b = appendPair(append(b, ','), "device_id", d.id)
	b = appendPair(append(b, ','), "platform", d.platform)
	b = appendPair(append(b, ','), "version_name", samples[0].version)
	b = appendPair(append(b, ','), "version_build", f.cfg.StoreVersion)
	b = appendPair(append(b, ','), "plugin_version", d.plugin.version)
	b = strconv.AppendBool(append(b, `,"is_prod":`...), d.prod)
	b = append(b, `,"is_emulator":false,"events":[`...)
	for i, s := range samples {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendSample(b, s)
	}
	return append(b, "]}"...)
}

func appendSample(b []byte, s sample) []byte {
	b = appendPair(append(b, '{'), "type", s.name)
	if s.timing {
		b = strconv.AppendInt(append(b, `,"value_ms":`...), s.value.Milliseconds(), 10)
	}
	b = append(b, s.extra...)
	b = strconv.AppendInt(append(b, `,"at":`...), s.at, 10)
	return append(b, '}')
}

// appendPair appends "name":"value". The name needs no escapes.
func appendPair(b []byte, name, value string) []byte {
	b = append(b, '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return appendString(b, value)
}

// appendString appends a JSON string. Nearly every text of the protocol is plain; the rest takes the library's way.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			quoted, _ := json.Marshal(s) // a string always encodes
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
