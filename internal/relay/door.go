package relay

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/palier-ota/palier/internal/store"
)

const (
	// admittedTTL is how long a token that was found is believed without asking the store: an edge comes every few seconds
	// for each of its apps. So long a revoked token may still work.
	admittedTTL = 30 * time.Second
	maxAdmitted = 1024

	// Failed attempts, of all strangers together: a burst, then one every few seconds. Who has a good token does not wait
	// for them.
	failureBurst    = 30
	failureInterval = 2 * time.Second

	maxTokenLength = 256
)

// door lets in who has a token.
type door struct {
	tokens   store.Tokens
	now      func() time.Time // the clock by which tokens expire
	real     func() time.Time
	failures *rate.Limiter

	mu       sync.Mutex
	admitted map[[sha256.Size]byte]admitted
}

// admitted is a token as it was in the store a moment ago.
type admitted struct {
	token store.Token
	found time.Time
}

func newDoor(tokens store.Tokens, now, real func() time.Time) *door {
	return &door{
		tokens: tokens, now: now, real: real, admitted: map[[sha256.Size]byte]admitted{},
		failures: rate.NewLimiter(rate.Every(failureInterval), failureBurst),
	}
}

// admit returns the token that an Authorization header carries if it has one of the roles. It fails with a *refusal, or
// with the store's error.
func (d *door) admit(ctx context.Context, authorization string, roles ...string) (store.Token, error) {
	token, err := d.authenticate(ctx, authorization)
	var refused *refusal
	if errors.As(err, &refused) && refused.Code != CodeMissingToken && !d.failures.AllowN(d.real(), 1) {
		return token, retryLater(http.StatusTooManyRequests, CodeTooManyRequests,
			"too many failed attempts: wait before the next", int(failureInterval/time.Second))
	}
	if err != nil {
		return token, err
	}
	if !slices.Contains(roles, token.Role) {
		return token, refuse(http.StatusForbidden, CodeForbidden,
			"this needs the role %s and the token %q has %s: make one with `palier token create NAME --role edge`",
			strings.Join(roles, " or "), token.Name, token.Role)
	}
	return token, nil
}

// authenticate returns the token, whatever its role. Its secret is looked up by its SHA-256, so how long that takes tells
// nothing about any secret.
func (d *door) authenticate(ctx context.Context, authorization string) (store.Token, error) {
	scheme, secret, _ := strings.Cut(strings.TrimSpace(authorization), " ")
	secret = strings.TrimSpace(secret)
	if scheme == "" {
		return store.Token{}, refuse(http.StatusUnauthorized, CodeMissingToken,
			"send the header Authorization: Bearer TOKEN; `palier token create NAME --role edge` makes tokens")
	}
	if !strings.EqualFold(scheme, "bearer") || secret == "" || len(secret) > maxTokenLength {
		return store.Token{}, unknownToken("the Authorization header must be Bearer and a token")
	}
	token, err := d.find(ctx, sha256.Sum256([]byte(secret)))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return store.Token{}, unknownToken("this token is unknown or was revoked: ask an admin for another")
	case err != nil:
		return store.Token{}, err
	case !token.ExpiresAt.IsZero() && !d.now().Before(token.ExpiresAt):
		return store.Token{}, refuse(http.StatusUnauthorized, CodeExpiredToken, "this token expired: ask an admin for another")
	}
	return token, nil
}

func unknownToken(message string) *refusal {
	return refuse(http.StatusUnauthorized, CodeInvalidToken, "%s", message)
}

// find returns the token whose secret has the hash: from memory, if it was found a moment ago.
func (d *door) find(ctx context.Context, hash [sha256.Size]byte) (store.Token, error) {
	now := d.real()
	d.mu.Lock()
	known, ok := d.admitted[hash]
	d.mu.Unlock()
	if age := now.Sub(known.found); ok && age >= 0 && age < admittedTTL {
		return known.token, nil
	}
	token, err := d.tokens.Find(ctx, hash)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		if errors.Is(err, store.ErrNotFound) {
			delete(d.admitted, hash)
		}
		return store.Token{}, err
	}
	if len(d.admitted) >= maxAdmitted {
		clear(d.admitted)
	}
	d.admitted[hash] = admitted{token, now}
	return token, nil
}

// sees reports whether the token is good for the app.
func sees(token store.Token, app string) bool {
	return len(token.Apps) == 0 || slices.Contains(token.Apps, app)
}
