package store

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
)

// compressFrom is the size in bytes from which a value is compressed: below it there is little to gain, above it
// DynamoDB charges by the kilobyte.
const compressFrom = 8 << 10

// encodeValue returns v as JSON, compressed when it is long. JSON never starts with gzip's magic number, so the value
// says itself which it is.
func encodeValue(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding %T: %w", v, err)
	}
	if len(text) < compressFrom {
		return text, nil
	}
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	if _, err := zip.Write(text); err != nil {
		return nil, fmt.Errorf("compressing %T: %w", v, err)
	}
	if err := zip.Close(); err != nil {
		return nil, fmt.Errorf("compressing %T: %w", v, err)
	}
	return out.Bytes(), nil
}

// expandValue returns the JSON of a value that encodeValue made.
func expandValue(value []byte) ([]byte, error) {
	if !bytes.HasPrefix(value, []byte{0x1f, 0x8b}) {
		return value, nil
	}
	unzip, err := gzip.NewReader(bytes.NewReader(value))
	if err != nil {
		return nil, fmt.Errorf("expanding: %w", err)
	}
	text, err := io.ReadAll(unzip)
	if err != nil {
		return nil, fmt.Errorf("expanding: %w", err)
	}
	return text, nil
}

// decodeItem reads the value of item into v.
func decodeItem(item Item, v any) error {
	text, err := expandValue(item.Value)
	if err != nil {
		return fmt.Errorf("reading %s: %w", item.Key, err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("reading %s: %w", item.Key, err)
	}
	return nil
}
