package guard

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"hash/crc32"
	"net/http"
	"strconv"
)

// answer is a whole answer that does not come from the component.
type answer struct {
	status      int
	contentType string
	body        []byte
}

func (a answer) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", a.contentType)
	h.Set("Content-Length", strconv.Itoa(len(a.body)))
	if a.contentType == json10 {
		h.Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(a.body)), 10)) // DynamoDB's clients check it
	}
	h.Set("X-Amzn-Requestid", "guard")
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

// Content types of the two JSON protocols.
const (
	json10 = "application/x-amz-json-1.0" // DynamoDB
	json11 = "application/x-amz-json-1.1" // Kinesis
)

// jsonError is an error of the JSON protocols; more are members beside the type and the message.
func jsonError(contentType, kind, message string, more map[string]any) answer {
	members := map[string]any{"__type": kind, "message": message}
	for name, value := range more {
		members[name] = value
	}
	body, err := json.Marshal(members)
	if err != nil {
		panic(fmt.Sprintf("guard: an error of strings and lists does not encode: %v", err))
	}
	return answer{status: http.StatusBadRequest, contentType: contentType, body: body}
}

// xmlError is an error of S3.
func xmlError(status int, code, message string) answer {
	body, err := xml.Marshal(struct {
		XMLName                          xml.Name `xml:"Error"`
		Code, Message, RequestId, HostId string   //nolint:revive // the names of the elements
	}{Code: code, Message: message, RequestId: "guard", HostId: "guard"})
	if err != nil {
		panic(fmt.Sprintf("guard: an error of strings does not encode: %v", err))
	}
	return answer{status: status, contentType: "application/xml", body: append([]byte(xml.Header), body...)}
}

// notAuthorized is the message of the JSON services' AccessDeniedException.
func notAuthorized(account, caller string, n need) string {
	return fmt.Sprintf("User: arn:aws:sts::%s:assumed-role/%s is not authorized to perform: %s on resource: %s "+
		"because no identity-based policy allows the %s action", account, caller, n.Action, n.Resource, n.Action)
}
