package apigateway

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/palier-ota/palier/internal/jsontext"
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
		dst = jsontext.AppendString(dst, body)
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
		dst = append(jsontext.AppendString(dst, h.Name), ':')
		dst = jsontext.AppendString(dst, h.Value)
	}
	return append(dst, '}')
}

func appendCookies(dst []byte, headers []Header) []byte {
	opening := `,"cookies":[`
	for _, h := range headers {
		if strings.EqualFold(h.Name, setCookie) {
			dst = append(dst, opening...)
			dst = jsontext.AppendString(dst, h.Value)
			opening = ","
		}
	}
	if opening == "," {
		dst = append(dst, ']')
	}
	return dst
}
