// Package devicetest holds whatever answers devices to the golden answers of testdata/golden: the service in process, a
// function on Lambda, a module at the edge. It puts the golden apps and device records into a store, and tells what each
// request must be answered, byte for byte.
package devicetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/store"
)

// Names of the files in testdata/golden.
const (
	AnswersFile   = "answers.jsonl"
	decisionsFile = "decisions.jsonl"
	snapshotsFile = "snapshots.json"
)

// Vector is one line of answers.jsonl: a request to POST /updates and its answer.
type Vector struct {
	Name     string         `json:"name"`
	Snapshot string         `json:"snapshot,omitempty"` // name of an app in snapshots.json; none where the request names no golden app
	Body     string         `json:"body"`               // to be sent as it is
	Facts    *resolve.Facts `json:"facts,omitempty"`    // the device's record; nil is none
	Status   int            `json:"status"`             // HTTP status
	Answer   string         `json:"answer"`             // the exact bytes
}

// app is one entry of snapshots.json.
type app struct {
	Name string       `json:"name"`
	Spec resolve.Spec `json:"spec"`
}

// Answers reads answers.jsonl from the folder.
func Answers(dir string) ([]Vector, error) { return vectors(dir, AnswersFile) }

// Questions returns the vectors without their answers: those decisions of decisions.jsonl that a device can bring about,
// and what a server must refuse.
func Questions(dir string) ([]Vector, error) {
	all, err := vectors(dir, decisionsFile)
	if err != nil {
		return nil, err
	}
	var asked []Vector
	for _, v := range all {
		if v.Facts == nil {
			continue // a record that is not known yet is the decision core's business only
		}
		if empty, err := json.Marshal(v.Facts); err == nil && string(empty) == "{}" {
			v.Facts = nil
		}
		asked = append(asked, v)
	}
	return append(asked, refusals()...), nil
}

// refusals are requests that no snapshot decides.
func refusals() []Vector {
	const good = `{"platform":"ios","device_id":"3ad0fac0-0ed2-acf2-c604-abd2332c482c","app_id":"com.golden.nobody","version_build":"1.0.0","version_name":"1.0.0","plugin_version":"8.51.23"}`
	replace := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	list := []Vector{
		{Name: "unknown-app", Body: good},
		{Name: "empty"},
		{Name: "half", Body: good[:len(good)/2]},
		{Name: "array", Body: "[" + good + "]"},
		{Name: "not-json", Body: "device_id=1"},
		{Name: "numeric-device", Body: replace(`"3ad0fac0-0ed2-acf2-c604-abd2332c482c"`, "12345")},
		{Name: "no-device", Body: replace(`"device_id":"3ad0fac0-0ed2-acf2-c604-abd2332c482c",`, "")},
		{Name: "odd-app", Body: replace("com.golden.nobody", "nobody")},
		{Name: "odd-platform", Body: replace(`"ios"`, `"windows"`)},
		{Name: "odd-version", Body: replace(`"version_build":"1.0.0"`, `"version_build":"one"`)},
		{Name: "old-plugin", Body: replace("8.51.23", "1.0.0")},
		{Name: "unicode", Body: replace(`"ios"`, `"ios","custom_id":"\ud83d\ude00 é"`)},
		{Name: "escapes", Body: replace("com.golden.nobody", `com.golden.\u006eobody`)},
	}
	for i := range list {
		list[i].Name = "refused/" + list[i].Name
	}
	return list
}

func vectors(dir, name string) ([]Vector, error) {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("reading golden vectors: %w", err)
	}
	var list []Vector
	for line := range strings.Lines(string(text)) {
		var v Vector
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			return nil, fmt.Errorf("reading golden vectors: %s, line %d: %w", name, len(list)+1, err)
		}
		list = append(list, v)
	}
	return list, nil
}

// Load puts the golden apps of the folder into the store, as their Snapshots, and the records of the vectors' devices. No
// two vectors want different records of one device.
func Load(ctx context.Context, s store.Store, dir string, list []Vector) error {
	text, err := os.ReadFile(filepath.Join(dir, snapshotsFile))
	if err != nil {
		return fmt.Errorf("loading golden apps: %w", err)
	}
	var apps []app
	if err := json.Unmarshal(text, &apps); err != nil {
		return fmt.Errorf("loading golden apps: %w", err)
	}
	for _, a := range apps {
		if err := loadApp(ctx, s, a.Spec); err != nil {
			return fmt.Errorf("loading golden app %s: %w", a.Name, err)
		}
	}
	for _, v := range list {
		if v.Facts != nil {
			if err := loadFacts(ctx, s, v); err != nil {
				return fmt.Errorf("loading the record for %s: %w", v.Name, err)
			}
		}
	}
	return nil
}

// loadApp writes an app's Snapshot exactly as the file has it.
func loadApp(ctx context.Context, s store.Store, spec resolve.Spec) error {
	value, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	key := store.Key{PK: "APP#" + spec.App, SK: "SNAPSHOT"}
	return s.Write(ctx, store.Put(store.Item{Key: key, Version: spec.Revision, Value: value}, store.Always()))
}

func loadFacts(ctx context.Context, s store.Store, v Vector) error {
	var who struct {
		App    string `json:"app_id"`
		Device string `json:"device_id"`
	}
	if err := json.Unmarshal([]byte(v.Body), &who); err != nil {
		return err
	}
	if who.App == "" || who.Device == "" {
		return errors.New("the body names no app or device")
	}
	return store.Devices{Store: s}.Update(ctx, who.App, who.Device, func(f *resolve.Facts) bool {
		*f = *v.Facts
		return true
	})
}
