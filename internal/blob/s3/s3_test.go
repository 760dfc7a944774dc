package s3_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	aws3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"github.com/palier-ota/palier/internal/blob"
	"github.com/palier-ota/palier/internal/blob/blobtest"
	"github.com/palier-ota/palier/internal/blob/s3"
	"github.com/palier-ota/palier/internal/cloudlocal/component/componenttest"
)

func TestMain(m *testing.M) { os.Exit(componenttest.Main(m)) }

// newBucket makes an empty bucket and returns its name.
func newBucket(t *testing.T) string {
	t.Helper()
	name := componenttest.Name("blob")
	if _, err := componenttest.S3Client(t).CreateBucket(t.Context(), &aws3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestConformance(t *testing.T) {
	blobtest.Run(t, blobtest.Engine{
		Open: func(t *testing.T) blob.Store { return s3.New(componenttest.S3Client(t), newBucket(t), s3.Options{}) },
		Reopen: func(t *testing.T) func() blob.Store {
			bucket := newBucket(t)
			return func() blob.Store { return s3.New(componenttest.S3Client(t), bucket, s3.Options{}) }
		},
	})
}

// TestManyPages lists when every answer holds fewer objects than were asked for, as S3 is free to do.
func TestManyPages(t *testing.T) {
	s := s3.New(componenttest.S3Client(t, func(o *aws3.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("ShortPages", shortPages), middleware.Before)
		})
	}), newBucket(t), s3.Options{})
	var want []string
	for _, name := range strings.Split("abcdefghij", "") {
		if err := s.Put(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
		want = append(want, name)
	}
	for _, limit := range []int{0, 1, 3, 4, 7, 10} {
		infos, err := s.List(t.Context(), "", "", limit)
		if err != nil {
			t.Fatal(err)
		}
		wanted := len(want)
		if limit > 0 {
			wanted = min(limit, wanted)
		}
		if len(infos) != wanted || infos[wanted-1].Key != want[wanted-1] {
			t.Errorf("limit %d: %d objects, want %d", limit, len(infos), wanted)
		}
	}
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestFailures puts what S3 may answer into the contract's words.
func TestFailures(t *testing.T) {
	const xml = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>no</Message></Error>`
	for _, c := range []struct {
		code   string
		status int
		want   error // nil: none of the contract's
	}{
		{"SlowDown", http.StatusServiceUnavailable, blob.ErrUnavailable},
		{"InternalError", http.StatusInternalServerError, blob.ErrUnavailable},
		{"NoSuchKey", http.StatusNotFound, blob.ErrNotFound},
		{"AccessDenied", http.StatusForbidden, nil},
		{"NoSuchBucket", http.StatusNotFound, nil},
	} {
		s := s3.New(componenttest.S3Client(t, func(o *aws3.Options) {
			o.RetryMaxAttempts = 1
			o.HTTPClient = &http.Client{Transport: transportFunc(func(*http.Request) (*http.Response, error) {
				w := httptest.NewRecorder()
				w.WriteHeader(c.status)
				w.WriteString(strings.Replace(xml, "%s", c.code, 1))
				return w.Result(), nil
			})}
		}), "bucket", s3.Options{})
		_, err := s.Get(t.Context(), "key")
		if err == nil {
			t.Fatalf("%s: no error", c.code)
		}
		for _, kind := range []error{blob.ErrUnavailable, blob.ErrNotFound, blob.ErrInvalid, blob.ErrTooLarge} {
			if errors.Is(err, kind) != (kind == c.want) {
				t.Errorf("%s: %v, want %v", c.code, err, c.want)
			}
		}
		if !strings.Contains(err.Error(), c.code) {
			t.Errorf("%s is not in the error: %v", c.code, err)
		}
	}
}

// TestCutAnswer has the connection end in the middle of an object.
func TestCutAnswer(t *testing.T) {
	bucket := newBucket(t)
	if err := s3.New(componenttest.S3Client(t), bucket, s3.Options{}).Put(t.Context(), "key", make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	s := s3.New(componenttest.S3Client(t, func(o *aws3.Options) {
		o.HTTPClient = &http.Client{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
			response, err := http.DefaultTransport.RoundTrip(r)
			if err == nil {
				early := io.MultiReader(io.LimitReader(response.Body, 500), iotest.ErrReader(io.ErrUnexpectedEOF))
				response.Body = cut{early, response.Body}
			}
			return response, err
		})}
	}), bucket, s3.Options{})
	if got, err := s.Get(t.Context(), "key"); !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("got %d bytes, %v; want ErrUnavailable", len(got), err)
	}
}

// shortPages asks for three objects where more are asked for.
func shortPages(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
	middleware.InitializeOutput, middleware.Metadata, error,
) {
	if list, ok := in.Parameters.(*aws3.ListObjectsV2Input); ok {
		list.MaxKeys = aws.Int32(min(3, *list.MaxKeys))
	}
	return next.HandleInitialize(ctx, in)
}

// cut is a body that ends too early.
type cut struct {
	io.Reader
	io.Closer
}

// TestSignedUpload checks what the SDK does not promise: that the signature covers length, type and digest, and when it
// ends.
func TestSignedUpload(t *testing.T) {
	at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	s := s3.New(componenttest.S3Client(t), "bucket", s3.Options{Now: func() time.Time { return at }})
	r, err := s.PresignPut(t.Context(), "key", 7, [32]byte{1}, "text/plain", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	if got := signed.Query().Get("X-Amz-SignedHeaders"); got != "content-length;content-type;host;x-amz-checksum-sha256" {
		t.Errorf("signed headers %s", got)
	}
	if signed.Query().Get("X-Amz-Expires") != "3600" || !r.Expires.Equal(at.Add(time.Hour)) || len(r.Header) != 3 {
		t.Errorf("expires %s, %v; headers %v", signed.Query().Get("X-Amz-Expires"), r.Expires, r.Header)
	}
}
