package capgo

import "unsafe"

// view returns b[i:j] as a string that shares b's memory: it is valid only while b is not changed.
func view(b []byte, i, j int) string {
	if i == j {
		return ""
	}
	return unsafe.String(&b[i], j-i)
}
