package guard

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/palier-ota/palier/internal/cloudlocal/policy"
)

// objects is S3's dialect, with the bucket in the path.
type objects struct{ options Options }

func (objects) readsBody() bool { return false }

func (o objects) read(r *http.Request, _ string, _ []byte) (string, []need, error) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	if bucket == "" {
		return "ListBuckets", []need{{Request: policy.Request{Action: "s3:ListAllMyBuckets", Resource: "*"}, class: "*"}}, nil
	}
	if key == "" {
		return onBucket(r.Method, bucket, query)
	}
	return onObject(r, bucket, key, query)
}

// onBucket reads a call about a bucket. What Palier never calls is refused.
func onBucket(method, bucket string, query url.Values) (string, []need, error) {
	operation, action := "", ""
	switch sub := subresource(query); {
	case method == http.MethodHead && sub == "":
		operation, action = "HeadBucket", "s3:ListBucket"
	case method == http.MethodGet && sub == "":
		operation, action = "ListObjects", "s3:ListBucket"
	case method == http.MethodGet && sub == "location":
		operation, action = "GetBucketLocation", "s3:GetBucketLocation"
	case method == http.MethodGet && sub == "uploads":
		operation, action = "ListMultipartUploads", "s3:ListBucketMultipartUploads"
	case method == http.MethodPut && sub == "":
		operation, action = "CreateBucket", "s3:CreateBucket"
	case method == http.MethodDelete && sub == "":
		operation, action = "DeleteBucket", "s3:DeleteBucket"
	default:
		return "", nil, fmt.Errorf("%s of a bucket's %q is not read here", method, sub)
	}
	n := bucketNeed(action, bucket)
	if prefix := query.Get("prefix"); action == "s3:ListBucket" {
		n.Context, n.key = map[string][]string{"s3:prefix": {prefix}}, upTo(prefix, "/")
	}
	return operation, []need{n}, nil
}

func bucketNeed(action, bucket string) need {
	arn := "arn:aws:s3:::" + bucket
	return need{Request: policy.Request{Action: action, Resource: arn}, class: arn}
}

// onObject reads a call about an object. Source: "Required permissions for Amazon S3 API operations" in the Amazon S3
// User Guide.
func onObject(r *http.Request, bucket, key string, query url.Values) (string, []need, error) {
	operation, action := "", ""
	switch sub := subresource(query); {
	case r.Header.Get("X-Amz-Copy-Source") != "":
		return "", nil, fmt.Errorf("a copy is not read here")
	case r.Method == http.MethodGet && sub == "":
		operation, action = "GetObject", "s3:GetObject"
	case r.Method == http.MethodHead && sub == "":
		operation, action = "HeadObject", "s3:GetObject"
	case r.Method == http.MethodPut && sub == "":
		operation, action = "PutObject", "s3:PutObject"
	case r.Method == http.MethodDelete && sub == "":
		operation, action = "DeleteObject", "s3:DeleteObject"
	case r.Method == http.MethodPost && sub == "uploads":
		operation, action = "CreateMultipartUpload", "s3:PutObject"
	case r.Method == http.MethodPut && sub == "uploadId":
		operation, action = "UploadPart", "s3:PutObject"
	case r.Method == http.MethodPost && sub == "uploadId":
		operation, action = "CompleteMultipartUpload", "s3:PutObject"
	case r.Method == http.MethodDelete && sub == "uploadId":
		operation, action = "AbortMultipartUpload", "s3:AbortMultipartUpload"
	case r.Method == http.MethodGet && sub == "uploadId":
		operation, action = "ListParts", "s3:ListMultipartUploadParts"
	default:
		return "", nil, fmt.Errorf("%s of an object's %q is not read here", r.Method, sub)
	}
	arn := "arn:aws:s3:::" + bucket + "/"
	return operation, []need{{
		Request: policy.Request{Action: action, Resource: arn + key},
		class:   arn + upTo(key, "/"),
	}}, nil
}

// ordinary are the query parameters that do not turn a call into another one.
var ordinary = map[string]bool{
	"x-id": true, "list-type": true, "prefix": true, "delimiter": true, "start-after": true, "marker": true,
	"max-keys": true, "continuation-token": true, "encoding-type": true, "fetch-owner": true, "partNumber": true,
	"max-uploads": true, "key-marker": true, "upload-id-marker": true, "max-parts": true, "part-number-marker": true,
	"response-content-type": true, "response-content-disposition": true, "response-cache-control": true,
}

// subresource is the query parameter that says what of a bucket or object a call is about; "" is the thing itself.
func subresource(query url.Values) string {
	for name := range query {
		if !ordinary[name] && !strings.HasPrefix(strings.ToLower(name), "x-amz-") {
			return name
		}
	}
	return ""
}

// hideMissing turns the answer that there is no such object into a refusal if the caller may not list the bucket: S3
// does not tell such a caller what there is. Source: "GetObject", permissions, in the Amazon S3 API Reference.
func (p *Proxy) hideMissing(c *call, resp *http.Response) error {
	if resp.StatusCode != http.StatusNotFound || c.needs[0].Action != "s3:GetObject" {
		return nil
	}
	bucket, _, _ := strings.Cut(strings.TrimPrefix(c.needs[0].Resource, "arn:aws:s3:::"), "/")
	list := bucketNeed("s3:ListBucket", bucket)
	if p.options.Authorize == nil || p.options.Authorize(c.caller, list.Request) {
		p.record.used(&call{caller: c.caller, needs: []need{list}})
		return nil
	}
	p.options.Log.Warn("no such object, which S3 does not tell a caller who may not list the bucket",
		"caller", c.caller, "resource", c.needs[0].class)
	a := p.dialect.denied(c.caller, list)
	_ = resp.Body.Close()
	resp.StatusCode, resp.Status = a.status, http.StatusText(a.status)
	resp.Header.Set("Content-Type", a.contentType)
	putBody(resp, a.body)
	return nil
}

func (objects) malformed(err error) answer {
	return xmlError(http.StatusBadRequest, "InvalidRequest", err.Error())
}

func (objects) denied(string, need) answer {
	return xmlError(http.StatusForbidden, "AccessDenied", "Access Denied")
}

func (objects) throttled(*call) []answer {
	return []answer{xmlError(http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")}
}
