package cloud

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/palier-ota/palier/internal/blob"
)

// Objects are whole objects of one bucket, put, read and deleted: all that store.Apps needs to keep Snapshots that are too
// large for the table. It is three signed requests and not S3's client, with which the functions that answer devices would
// start a quarter later, and which they hardly ever need.
type Objects struct {
	client      *http.Client
	credentials aws.CredentialsProvider
	region      string
	base        *url.URL // of the bucket
	signer      *v4.Signer
}

// Of one call.
const (
	objectAttempts = 4
	objectPause    = 100 * time.Millisecond // mean of the pause after the first attempt; it doubles with each
)

// Large returns where store.Apps keeps Snapshots that are too large for the table: the bucket that PALIER_STATE names.
func (e *Environment) Large() *Objects {
	name := e.Required("PALIER_STATE")
	config, endpoint := e.AWS("S3")
	base := &url.URL{Scheme: "https", Host: name + ".s3." + config.Region + "." + domain(config.Region), Path: "/"}
	if endpoint != nil {
		base = e.endpoint("S3").JoinPath(name, "/")
	}
	return &Objects{
		client: e.client, credentials: config.Credentials, region: config.Region, base: base,
		signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }), // as S3 wants it
	}
}

// domain returns under which domain a region's services are.
func domain(region string) string {
	if strings.HasPrefix(region, "cn-") {
		return "amazonaws.com.cn"
	}
	return "amazonaws.com"
}

// Put stores the object, durably and as a whole. It fails with blob.ErrTooLarge, blob.ErrInvalid and blob.ErrUnavailable.
func (o *Objects) Put(ctx context.Context, key string, data []byte) error {
	if err := blob.CheckPut(key, data); err != nil {
		return fmt.Errorf("putting object: %w", err)
	}
	if _, err := o.do(ctx, http.MethodPut, key, data); err != nil {
		return fmt.Errorf("putting object %s: %w", key, err)
	}
	return nil
}

// Get returns the object. It fails with blob.ErrNotFound, blob.ErrTooLarge, blob.ErrInvalid and blob.ErrUnavailable.
func (o *Objects) Get(ctx context.Context, key string) ([]byte, error) {
	if err := blob.CheckKey(key); err != nil {
		return nil, fmt.Errorf("getting object: %w", err)
	}
	data, err := o.do(ctx, http.MethodGet, key, nil)
	if err != nil {
		return nil, fmt.Errorf("getting object %s: %w", key, err)
	}
	return data, nil
}

// Delete removes the object; it is no error when there is none. It fails with blob.ErrInvalid and blob.ErrUnavailable.
func (o *Objects) Delete(ctx context.Context, key string) error {
	if err := blob.CheckKey(key); err != nil {
		return fmt.Errorf("deleting object: %w", err)
	}
	if _, err := o.do(ctx, http.MethodDelete, key, nil); err != nil && !errors.Is(err, blob.ErrNotFound) {
		return fmt.Errorf("deleting object %s: %w", key, err)
	}
	return nil
}

// do makes the request, again after a pause while S3 cannot be reached or says that it is busy.
func (o *Objects) do(ctx context.Context, method, key string, body []byte) ([]byte, error) {
	pause := objectPause
	for attempt := 1; ; attempt++ {
		data, err := o.once(ctx, method, key, body)
		if !errors.Is(err, blob.ErrUnavailable) || attempt == objectAttempts {
			return data, err
		}
		select {
		case <-time.After(rand.N(2 * pause)): // any of many processes may be here at once
			pause *= 2
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

func (o *Objects) once(ctx context.Context, method, key string, body []byte) ([]byte, error) {
	r, err := o.request(ctx, method, key, body)
	if err != nil {
		return nil, err
	}
	answer, err := o.client.Do(r)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", blob.ErrUnavailable, err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, blob.MaxObjectBytes+1))
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", blob.ErrUnavailable, err)
	case len(data) > blob.MaxObjectBytes:
		return nil, blob.ErrTooLarge
	case answer.StatusCode == http.StatusNotFound:
		return nil, blob.ErrNotFound
	case answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests:
		return nil, fmt.Errorf("%w: %s", blob.ErrUnavailable, answer.Status)
	case answer.StatusCode >= 300:
		return nil, fmt.Errorf("S3 refuses: %s: %.300s", answer.Status, data)
	}
	return data, nil
}

// request returns the signed request. The signature is over the body's digest, which S3 checks.
func (o *Objects) request(ctx context.Context, method, key string, body []byte) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, o.base.JoinPath(key).String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	who, err := o.credentials.Retrieve(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the credentials: %w", err)
	}
	sum := sha256.Sum256(body)
	digest := hex.EncodeToString(sum[:])
	r.Header.Set("X-Amz-Content-Sha256", digest)
	if method == http.MethodPut {
		r.Header.Set("Content-Type", blob.DefaultType)
	}
	if err := o.signer.SignHTTP(ctx, who, r, digest, "s3", o.region, time.Now()); err != nil {
		return nil, fmt.Errorf("signing the request: %w", err)
	}
	return r, nil
}
