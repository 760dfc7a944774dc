package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// maxDifferences is how many differences of one verdict are told.
const maxDifferences = 20

// differences lists in words the fields in which two verdicts differ.
func differences(was, is []byte) []string {
	read := func(text []byte) (tree any) {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		if d.Decode(&tree) != nil {
			return string(text)
		}
		return tree
	}
	list := compareTrees("", read(was), read(is))
	if len(list) == 0 {
		return []string{"the same fields in other bytes"}
	}
	if more := len(list) - maxDifferences; more > 0 {
		list = append(list[:maxDifferences], fmt.Sprintf("and %d more", more))
	}
	return list
}

func compareTrees(path string, was, is any) (list []string) {
	switch a := was.(type) {
	case map[string]any:
		b, ok := is.(map[string]any)
		if !ok {
			break
		}
		for _, key := range sortedUnion(a, b) {
			list = append(list, compareTrees(join(path, key), a[key], b[key])...)
		}
		return list
	case []any:
		b, ok := is.([]any)
		if !ok || len(a) != len(b) {
			break
		}
		for i := range a {
			list = append(list, compareTrees(path+"["+entryName(i, a[i])+"]", a[i], b[i])...)
		}
		return list
	}
	if before, after := told(was), told(is); before != after {
		list = append(list, fmt.Sprintf("%s: was %s, is %s", path, before, after))
	}
	return list
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// entryName calls the evidence on a metric by the metric's name.
func entryName(i int, entry any) string {
	if fields, ok := entry.(map[string]any); ok {
		if metric, ok := fields["metric"].(string); ok {
			return metric
		}
	}
	return strconv.Itoa(i)
}

// told is a value of a verdict in words.
func told(v any) string {
	if v == nil {
		return "nothing"
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return clip(string(text), 300)
}

func sortedUnion(a, b map[string]any) (keys []string) {
	for key := range a {
		keys = append(keys, key)
	}
	for key := range b {
		if _, both := a[key]; !both {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}
