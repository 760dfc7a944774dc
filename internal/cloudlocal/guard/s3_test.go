package guard_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/palier-ota/palier/internal/cloudlocal/component"
	"github.com/palier-ota/palier/internal/cloudlocal/guard"
	"github.com/palier-ota/palier/internal/cloudlocal/policy"
)

// bucket is a guarded S3 server with one bucket.
type bucket struct {
	*guard.Proxy
	*policies
	name, arn string
}

func newBucket(t *testing.T) bucket {
	t.Helper()
	server, err := component.S3(t.Context(), component.S3Options{
		AccessKey: "owner", Secret: secret, Users: map[string]string{"AdminFunction": secret, "ResolveFunction": secret},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	rules := new(policies)
	p := started(t, guard.Options{Service: guard.S3, Upstream: server.URL, Authorize: rules.authorize})
	b := bucket{Proxy: p, policies: rules, name: "state", arn: "arn:aws:s3:::state"}
	direct := s3Client(server.URL, "owner")
	if _, err := direct.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &b.name}); err != nil {
		t.Fatal(err)
	}
	return b
}

func s3Client(url, caller string) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &url, Region: component.Region, UsePathStyle: true, RetryMaxAttempts: 1, Credentials: credentialsOf(caller),
	})
}

// allowOn lets caller do actions on the bucket (an empty suffix) or on its objects ("/dead/*").
func (b bucket) allowOn(caller, suffix string, actions ...string) {
	b.mu.Lock()
	have := b.roles[caller]
	b.mu.Unlock()
	b.allow(caller, append(have, policy.Statement{
		Effect: policy.Allow, Actions: actions, Resources: []string{b.arn + suffix},
	})...)
}

func TestS3LetsThroughWhatPoliciesAllow(t *testing.T) {
	b := newBucket(t)
	ctx := t.Context()
	b.allowOn("AdminFunction", "/dead/*", "s3:PutObject", "s3:GetObject", "s3:DeleteObject")
	b.allowOn("AdminFunction", "", "s3:ListBucket")
	b.allowOn("ResolveFunction", "/snapshots/*", "s3:GetObject")
	admin, resolve := s3Client(b.URL, "AdminFunction"), s3Client(b.URL, "ResolveFunction")

	object := aws.String("dead/a b+c/é")
	put := func(c *s3.Client, key string) error {
		_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: &b.name, Key: &key, Body: strings.NewReader("data")})
		return err
	}
	if err := put(admin, *object); err != nil {
		t.Fatal(err)
	}
	out, err := admin.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: object})
	if err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(out.Body); err != nil || string(data) != "data" {
		t.Errorf("got %q, %v", data, err)
	}
	list, err := admin.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &b.name, Prefix: aws.String("dead/a")})
	if err != nil || len(list.Contents) != 1 {
		t.Errorf("listed %+v, %v", list, err)
	}
	if _, err := admin.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: object}); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"another prefix": put(admin, "snapshots/x"),
		"another caller": put(resolve, "snapshots/x"),
		"a stranger":     put(s3Client(b.URL, "Stranger"), "dead/x"),
	} {
		if codeOf(err) != "AccessDenied" {
			t.Errorf("%s: %v", what, err)
		}
	}

	want := []guard.Use{
		{Caller: "AdminFunction", Action: "s3:DeleteObject", Resource: b.arn + "/dead/", Count: 1},
		{Caller: "AdminFunction", Action: "s3:GetObject", Resource: b.arn + "/dead/", Count: 1},
		{Caller: "AdminFunction", Action: "s3:ListBucket", Resource: b.arn, LeadingKey: "dead/", Count: 1},
		{Caller: "AdminFunction", Action: "s3:PutObject", Resource: b.arn + "/dead/", Count: 1},
	}
	if got := b.Uses(); !slices.Equal(got, want) {
		t.Errorf("uses %+v, want %+v", got, want)
	}
}

// S3 tells only those who may list a bucket that an object is not there.
func TestMissingObjects(t *testing.T) {
	b := newBucket(t)
	b.allowOn("ResolveFunction", "/*", "s3:GetObject")
	client := s3Client(b.URL, "ResolveFunction")
	get := func() error {
		_, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &b.name, Key: aws.String("snapshots/none")})
		return err
	}
	if code := codeOf(get()); code != "AccessDenied" {
		t.Errorf("without s3:ListBucket: code %q", code)
	}
	b.allowOn("ResolveFunction", "", "s3:ListBucket")
	if code := codeOf(get()); code != "NoSuchKey" {
		t.Errorf("with s3:ListBucket: code %q", code)
	}
	if !slices.ContainsFunc(b.Uses(), func(u guard.Use) bool { return u.Action == "s3:ListBucket" }) {
		t.Errorf("s3:ListBucket was needed, and the record does not say so: %+v", b.Uses())
	}
}

// A presigned URL works for as long as who signed it may do what it says.
func TestPresignedURLs(t *testing.T) {
	b := newBucket(t)
	presign := s3.NewPresignClient(s3Client(b.URL, "AdminFunction"))
	upload, err := presign.PresignPutObject(t.Context(), &s3.PutObjectInput{
		Bucket: &b.name, Key: aws.String("bundles/1.zip"), ContentLength: aws.Int64(4),
	}, s3.WithPresignExpires(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	send := func() int {
		req, err := http.NewRequestWithContext(t.Context(), upload.Method, upload.URL, bytes.NewReader([]byte("data")))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		return resp.StatusCode
	}
	if status := send(); status != http.StatusForbidden {
		t.Errorf("signed by one who may not: status %d", status)
	}
	b.allowOn("AdminFunction", "/bundles/*", "s3:PutObject")
	if status := send(); status != http.StatusOK {
		t.Errorf("signed by one who may: status %d", status)
	}
	want := []guard.Use{{Caller: "AdminFunction", Action: "s3:PutObject", Resource: b.arn + "/bundles/", Count: 1}}
	if got := b.Uses(); !slices.Equal(got, want) {
		t.Errorf("uses %+v, want %+v", got, want)
	}
}

func TestMultipartUpload(t *testing.T) {
	b := newBucket(t)
	b.allowOn("AdminFunction", "/bundles/*", "s3:PutObject", "s3:GetObject")
	client, key := s3Client(b.URL, "AdminFunction"), aws.String("bundles/big.zip")
	ctx := t.Context()
	upload, err := client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &b.name, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	parts := [][]byte{bytes.Repeat([]byte("a"), 5<<20), []byte("b")}
	done := types.CompletedMultipartUpload{}
	for i, part := range parts {
		number := aws.Int32(int32(i + 1))
		out, err := client.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: &b.name, Key: key, UploadId: upload.UploadId, PartNumber: number, Body: bytes.NewReader(part),
		})
		if err != nil {
			t.Fatal(err)
		}
		done.Parts = append(done.Parts, types.CompletedPart{PartNumber: number, ETag: out.ETag})
	}
	if _, err := client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &b.name, Key: key, UploadId: upload.UploadId, MultipartUpload: &done,
	}); err != nil {
		t.Fatal(err)
	}
	if got := download(ctx, t, client, b.name, *key); !bytes.Equal(got, slices.Concat(parts...)) {
		t.Errorf("got %d bytes back, other than the parts", len(got))
	}
}

func download(ctx context.Context, t *testing.T, c *s3.Client, bucket, key string) []byte {
	t.Helper()
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(out.Body)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
