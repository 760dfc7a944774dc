package capgo_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/resolve"
)

// plainCheck is ParseCheck's plain twin: the same rules over encoding/json, written to be read. It returns the Check, or
// the code of the refusal.
func plainCheck(body []byte) (resolve.Check, string) {
	var none resolve.Check
	if !utf8.Valid(body) || !json.Valid(body) || depth(body) > 64 {
		return none, capgo.CodeParse
	}
	if bytes.TrimLeft(body, " \t\r\n")[0] != '{' {
		return none, capgo.CodeBody
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		return none, capgo.CodeParse
	}
	members := map[string]any{}
	for key, value := range raw {
		var v any
		d := json.NewDecoder(bytes.NewReader(value))
		d.UseNumber() // a number beyond a double's range is JSON all the same
		if err := d.Decode(&v); err != nil {
			return none, capgo.CodeParse
		}
		members[key] = v
	}
	return plainNormalise(members)
}

// depth returns how deeply a JSON text nests.
func depth(body []byte) int {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	level, deepest := 0, 0
	for {
		token, err := d.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			level++
		case json.Delim('}'), json.Delim(']'):
			level--
		}
		deepest = max(deepest, level)
	}
}

var (
	plainUUID  = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	plainAppID = regexp.MustCompile(`(?i)^[a-z0-9]+(\.[a-z0-9_-]+)+$`)
)

func plainNormalise(m map[string]any) (resolve.Check, string) {
	var c, none resolve.Check
	nothing := func(key string) bool { return m[key] == nil || m[key] == "" }
	switch {
	case len(m) == 0:
		return none, capgo.CodeBody
	case nothing("device_id"):
		return none, capgo.CodeNoDeviceID
	case nothing("app_id"):
		return none, capgo.CodeNoAppID
	}
	if build, ok := m["version_build"].(string); ok && build != "" {
		if build == "builtin" || build == "unknown" {
			build = "0.0.0"
		}
		build = strings.TrimPrefix(strings.TrimSpace(build), "v")
		if dots := strings.Count(build, "."); dots < 2 {
			build += strings.Repeat(".0", 2-dots)
		}
		if c.Native, ok = resolve.ParseVersion(build); !ok {
			return none, capgo.CodeSemver
		}
		c.VersionBuild = build
	}
	if !plainSchema(m) {
		return none, capgo.CodeBody
	}
	text := func(key string) string { s, _ := m[key].(string); return s }
	c.AppID, c.DeviceID, c.CustomID = text("app_id"), strings.ToLower(text("device_id")), text("custom_id")
	c.VersionOS, c.VersionCode, c.VersionName = text("version_os"), text("version_code"), text("version_name")
	if c.RunsBuiltin = c.VersionName == "builtin"; c.RunsBuiltin {
		c.VersionName = c.VersionBuild
	}
	c.PluginVersion = text("plugin_version")
	var ok bool
	if c.Plugin, ok = resolve.ParseVersion(c.PluginVersion); !ok {
		return none, capgo.CodeBody
	}
	c.DefaultChannel, c.KeyID, c.InstallSource = text("defaultChannel"), text("key_id"), text("install_source")
	c.IsEmulator, c.IsProd = m["is_emulator"] == true, m["is_prod"] != false
	c.Platform = map[string]resolve.Platform{"android": resolve.Android, "ios": resolve.IOS, "electron": resolve.Electron}[text("platform")]
	if c.Platform == resolve.PlatformOther || c.VersionName == "" || c.VersionBuild == "" || !plainAppID.MatchString(c.AppID) ||
		!plainUUID.MatchString(c.DeviceID) || utf8.RuneCountInString(c.KeyID) > 20 || utf8.RuneCountInString(c.InstallSource) > 64 {
		return none, capgo.CodeBody
	}
	return c, ""
}

// plainSchema reports whether every field that is there has its type and the required ones are there.
func plainSchema(m map[string]any) bool {
	fields := map[string]struct {
		kind     reflect.Kind
		required bool
	}{
		"platform": {reflect.String, true}, "device_id": {reflect.String, true}, "app_id": {reflect.String, true},
		"custom_id": {reflect.String, false}, "version_build": {reflect.String, true}, "version_code": {reflect.String, false},
		"version_os": {reflect.String, false}, "version_name": {reflect.String, true}, "plugin_version": {reflect.String, true},
		"is_emulator": {reflect.Bool, false}, "is_prod": {reflect.Bool, false}, "defaultChannel": {reflect.String, false},
		"key_id": {reflect.String, false}, "install_source": {reflect.String, false},
	}
	for key, f := range fields {
		value, there := m[key]
		there = there && !(value == nil && f.kind == reflect.Bool) // a null boolean says nothing
		if !there && f.required || there && (value == nil || reflect.TypeOf(value).Kind() != f.kind || isNumber(value)) {
			return false
		}
	}
	return true
}

func isNumber(v any) bool { _, ok := v.(json.Number); return ok } // json.Number is a string kind
