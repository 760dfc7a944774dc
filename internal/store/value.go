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
	value, err := compress(text)
	if err != nil {
		return nil, fmt.Errorf("compressing %T: %w", v, err)
	}
	return value, nil
}

// compress returns text as it is or, when it is long, compressed.
func compress(text []byte) ([]byte, error) {
	if len(text) < compressFrom {
		return text, nil
	}
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	if _, err := zip.Write(text); err != nil {
		return nil, err
	}
	if err := zip.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// expandValue returns the JSON of a value that encodeValue made, which is at most maxSpecBytes.
func expandValue(value []byte) ([]byte, error) { return expandUpTo(value, maxSpecBytes) }

// expandUpTo refuses what expands to more than so many bytes, before it is held in memory.
func expandUpTo(value []byte, most int64) ([]byte, error) {
	if !bytes.HasPrefix(value, []byte{0x1f, 0x8b}) {
		return value, nil
	}
	unzip, err := gzip.NewReader(bytes.NewReader(value))
	if err != nil {
		return nil, fmt.Errorf("expanding: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(unzip, most+1))
	if err != nil {
		return nil, fmt.Errorf("expanding: %w", err)
	}
	if int64(len(text)) > most {
		return nil, fmt.Errorf("expanding: %w: more than %d bytes", ErrTooLarge, most)
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
