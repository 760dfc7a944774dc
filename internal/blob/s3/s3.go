// Package s3 keeps a blob.Store in one S3 bucket.
//
// The bucket must exist: what is in it, who may read it and how long it is kept is the deployment's to say. Objects are
// sent with their SHA-256, which S3 checks before the object can be seen, and the transfers that this package signs are
// signed over the object's length, digest and type, so that the holder of a Request can send nothing else.
//
// S3 tells only those who may list the bucket that an object is absent; others are told that access is denied. Who calls
// Get therefore needs s3:ListBucket too, or ErrNotFound never comes.
package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/palier-ota/palier/internal/blob"
)

// Options of New. The zero value is right for S3 itself.
type Options struct {
	// PathStyle puts the bucket into the URL's path instead of its host name, as servers on loopback need it.
	PathStyle bool
	Now       func() time.Time // clock for Request.Expires; default time.Now
}

// Store is a blob.Store in a bucket.
type Store struct {
	client *s3.Client
	sign   *s3.PresignClient
	bucket string
	path   func(*s3.Options)
	now    func() time.Time
}

var _ blob.Store = (*Store)(nil)

// New returns the store in the bucket. It makes no call.
func New(client *s3.Client, bucket string, o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	path := func(to *s3.Options) { to.UsePathStyle = to.UsePathStyle || o.PathStyle }
	sign := s3.NewPresignClient(client, s3.WithPresignClientFromClientOptions(path))
	return &Store{client: client, sign: sign, bucket: bucket, path: path, now: o.Now}
}

// Put stores the object with blob.DefaultType.
func (s *Store) Put(ctx context.Context, key string, data []byte) error {
	if err := blob.CheckPut(key, data); err != nil {
		return fmt.Errorf("putting object: %w", err)
	}
	_, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket:         &s.bucket,
		Key:            &key,
		Body:           bytes.NewReader(data),
		ContentLength:  aws.Int64(int64(len(data))),
		ContentType:    aws.String(blob.DefaultType),
		ChecksumSHA256: aws.String(digest(sha256.Sum256(data))),
	}, s.path)
	if err != nil {
		return fmt.Errorf("putting object %s: %w", key, s.classify(ctx, err))
	}
	return nil
}

// Get returns the object.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if err := blob.CheckKey(key); err != nil {
		return nil, fmt.Errorf("getting object: %w", err)
	}
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: &key}, s.path)
	if err != nil {
		return nil, fmt.Errorf("getting object %s: %w", key, s.classify(ctx, err))
	}
	defer out.Body.Close()
	size := aws.ToInt64(out.ContentLength)
	if size > blob.MaxObjectBytes {
		return nil, fmt.Errorf("getting object %s: %w: %d bytes, at most %d",
			key, blob.ErrTooLarge, size, blob.MaxObjectBytes)
	}
	data, err := read(out.Body, size)
	switch {
	case err == nil:
		return data, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("getting object %s: %w", key, context.Cause(ctx))
	default:
		return nil, fmt.Errorf("getting object %s: %w: %w", key, blob.ErrUnavailable, err)
	}
}

// read reads a body of so many bytes and no others. The digest that S3 sends along is compared where the body ends, so
// the end is read too.
func read(body io.Reader, size int64) ([]byte, error) {
	data := make([]byte, size)
	if _, err := io.ReadFull(body, data); err != nil {
		return nil, err
	}
	switch n, err := io.Copy(io.Discard, body); {
	case err != nil:
		return nil, err
	case n > 0:
		return nil, fmt.Errorf("%d bytes more than announced", n)
	}
	return data, nil
}

// Delete removes the object.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := blob.CheckKey(key); err != nil {
		return fmt.Errorf("deleting object: %w", err)
	}
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &key}, s.path)
	if err = s.classify(ctx, err); err != nil && !errors.Is(err, blob.ErrNotFound) {
		return fmt.Errorf("deleting object %s: %w", key, err)
	}
	return nil
}

// List returns up to limit objects below the prefix.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]blob.Info, error) {
	if limit < 1 || limit > blob.MaxList {
		limit = blob.MaxList
	}
	in := &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: &prefix, MaxKeys: aws.Int32(int32(limit))}
	if after != "" {
		in.StartAfter = &after
	}
	var found []blob.Info
	for pages := s3.NewListObjectsV2Paginator(s.client, in); pages.HasMorePages() && len(found) < limit; {
		page, err := pages.NextPage(ctx, s.path)
		if err != nil {
			return nil, fmt.Errorf("listing objects %s: %w", prefix, s.classify(ctx, err))
		}
		for _, o := range page.Contents {
			if blob.CheckKey(aws.ToString(o.Key)) != nil {
				continue // somebody else's, such as the mark of a folder that was made in a console
			}
			found = append(found, blob.Info{
				Key: aws.ToString(o.Key), Size: aws.ToInt64(o.Size),
			})
		}
	}
	return found[:min(len(found), limit)], nil
}

// PresignPut allows one upload. S3 also ends it with the credentials that signed it, if they are temporary.
func (s *Store) PresignPut(ctx context.Context, key string, size int64, sum [32]byte, contentType string,
	validFor time.Duration,
) (blob.Request, error) {
	if err := blob.CheckUpload(key, size, contentType, validFor); err != nil {
		return blob.Request{}, fmt.Errorf("signing an upload: %w", err)
	}
	expires := s.now().Add(validFor)
	signed, err := s.sign.PresignPutObject(ctx, &s3.PutObjectInput{
		Bucket:         &s.bucket,
		Key:            &key,
		ContentLength:  &size,
		ContentType:    &contentType,
		ChecksumSHA256: aws.String(digest(sum)),
	}, s3.WithPresignExpires(validFor))
	if err != nil {
		return blob.Request{}, fmt.Errorf("signing an upload of %s: %w", key, err)
	}
	header := signed.SignedHeader.Clone()
	header.Del("Host") // comes from the URL
	return blob.Request{Method: signed.Method, URL: signed.URL, Header: header, Expires: expires}, nil
}

// PresignGet allows downloads, until the credentials that signed them end, if they are temporary.
func (s *Store) PresignGet(ctx context.Context, key string, validFor time.Duration) (blob.Request, error) {
	if err := blob.CheckDownload(key, validFor); err != nil {
		return blob.Request{}, fmt.Errorf("signing a download: %w", err)
	}
	expires := s.now().Add(validFor)
	in := &s3.GetObjectInput{Bucket: &s.bucket, Key: &key}
	signed, err := s.sign.PresignGetObject(ctx, in, s3.WithPresignExpires(validFor))
	if err != nil {
		return blob.Request{}, fmt.Errorf("signing a download of %s: %w", key, err)
	}
	return blob.Request{Method: signed.Method, URL: signed.URL, Header: http.Header{}, Expires: expires}, nil
}

// Close does nothing: the client is its maker's.
func (s *Store) Close() error { return nil }

func digest(sum [32]byte) string { return base64.StdEncoding.EncodeToString(sum[:]) }

// classify puts the error of a call into the contract's words. The SDK has already tried again what is worth it.
func (s *Store) classify(ctx context.Context, err error) error {
	var api smithy.APIError
	var answer *awshttp.ResponseError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &api) && api.ErrorCode() == "NoSuchBucket":
		return fmt.Errorf("there is no bucket %s (is the name right, and the stack deployed?): %w", s.bucket, err)
	case errors.As(err, &answer) && answer.HTTPStatusCode() == http.StatusNotFound:
		return fmt.Errorf("%w: %w", blob.ErrNotFound, err)
	case retry.IsErrorRetryables(retry.DefaultRetryables).IsErrorRetryable(err) == aws.TrueTernary:
		return fmt.Errorf("%w: %w", blob.ErrUnavailable, err)
	}
	return err
}
