package apigateway

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Header is one header of an answer. Several of one name must be joined into one by commas, but for Set-Cookie, which may
// come several times.
type Header struct{ Name, Value string }

// setCookie is the header that the format keeps apart.
const setCookie = "Set-Cookie"

// AppendResponse appends the event with which a function answers: a status from 100 to 599, headers and body. A body that
// is not UTF-8 is sent in base64.
func AppendResponse(dst []byte, status int, headers []Header, body []byte) []byte {
	dst = append(dst, `{"statusCode":`...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = appendHeaders(dst, headers)
	dst = appendCookies(dst, headers)
	if utf8.Valid(body) {
		dst = append(dst, `,"isBase64Encoded":false,"body":`...)
		dst = appendString(dst, body)
	} else {
		dst = append(dst, `,"isBase64Encoded":true,"body":"`...)
		dst = append(base64.StdEncoding.AppendEncode(dst, body), '"')
	}
	return append(dst, '}')
}

func appendHeaders(dst []byte, headers []Header) []byte {
	dst = append(dst, `,"headers":{`...)
	before := len(dst)
	for _, h := range headers {
		if strings.EqualFold(h.Name, setCookie) {
			continue
		}
		if len(dst) > before {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, h.Name), ':')
		dst = appendString(dst, h.Value)
	}
	return append(dst, '}')
}

func appendCookies(dst []byte, headers []Header) []byte {
	opening := `,"cookies":[`
	for _, h := range headers {
		if strings.EqualFold(h.Name, setCookie) {
			dst = append(dst, opening...)
			dst = appendString(dst, h.Value)
			opening = ","
		}
	}
	if opening == "," {
		dst = append(dst, ']')
	}
	return dst
}

// appendString appends s as a JSON string. What is not UTF-8 becomes U+FFFD.
func appendString[T string | []byte](dst []byte, s T) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0 // of what was not appended yet
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := decodeRune(s, i)
			if r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
		}
		dst = append(dst, s[start:i]...)
		switch {
		case c >= utf8.RuneSelf:
			dst = utf8.AppendRune(dst, utf8.RuneError)
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// decodeRune decodes the character at i.
func decodeRune[T string | []byte](s T, i int) (rune, int) {
	var window [utf8.UTFMax]byte
	return utf8.DecodeRune(window[:copy(window[:], s[i:])])
}
