package admin

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/palier-ota/palier/internal/store"
)

// Principal is who makes a call.
type Principal struct {
	Name      string // the token's name, as the audit log shows it
	Role      Role
	Apps      []string // the apps the token is limited to; none means all
	ExpiresAt time.Time
}

// Sees reports whether the principal may know of the app.
func (p Principal) Sees(app string) bool { return len(p.Apps) == 0 || slices.Contains(p.Apps, app) }

type principalKey struct{}

// caller returns who makes the call; authentication put it there.
func caller(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}

// Authenticate returns who an Authorization header stands for. The error is an *Error with missing_token, invalid_token
// or expired_token, or the store's. The token's secret is looked up by its SHA-256, so how long the look-up takes tells
// an attacker nothing about any secret.
func (s *Service) Authenticate(ctx context.Context, authorization string) (Principal, error) {
	scheme, secret, _ := strings.Cut(strings.TrimSpace(authorization), " ")
	if scheme == "" {
		return Principal{}, unauthorized(CodeMissingToken, "send the header Authorization: Bearer TOKEN; `palier token create` makes tokens")
	}
	secret = strings.TrimSpace(secret)
	if !strings.EqualFold(scheme, "bearer") {
		return Principal{}, unauthorized(CodeInvalidToken, "the Authorization header must be Bearer and a token")
	}
	if !wellFormed(secret) {
		return Principal{}, unauthorized(CodeInvalidToken, fmt.Sprintf(
			"the token is malformed: a token has %d to %d printable characters without spaces, and one made by `palier token create` begins with %s",
			minTokenLength, maxTokenLength, tokenPrefix))
	}
	token, err := s.tokens.Find(ctx, sha256.Sum256([]byte(secret)))
	if errors.Is(err, store.ErrNotFound) {
		return Principal{}, unauthorized(CodeInvalidToken, "this token is unknown or was revoked: ask an admin for another"+unlikely(secret))
	}
	if err != nil {
		return Principal{}, err
	}
	if expired(token, s.now()) {
		return Principal{}, unauthorized(CodeExpiredToken, "this token expired: ask an admin for another")
	}
	return Principal{Name: token.Name, Role: Role(token.Role), Apps: token.Apps, ExpiresAt: token.ExpiresAt}, nil
}

// unlikely points out that an unknown token does not look like one that was copied whole. A first token, which people
// choose, need not.
func unlikely(secret string) string {
	if strings.HasPrefix(secret, tokenPrefix) {
		return ""
	}
	return "; those made by `palier token create` begin with " + tokenPrefix
}

func unauthorized(code, message string) *Error {
	e := refuse(http.StatusUnauthorized, code, "%s", message)
	e.header = http.Header{"Www-Authenticate": {`Bearer realm="palier"`}}
	return e
}

// authorize checks that p may do what needs the role on the app; app is "" for calls that concern none.
func authorize(p Principal, needed Role, app string) error {
	if !p.Role.Allows(needed) {
		return refuse(http.StatusForbidden, CodeForbidden,
			"this needs the role %s and the token %q has %s: use another token", needed, p.Name, p.Role)
	}
	limited := app == "" && needed == Admin && len(p.Apps) > 0 // a token for one app must not make one for all
	if limited || app != "" && !p.Sees(app) {
		return refuse(http.StatusForbidden, CodeForbidden,
			"the token %q is limited to other apps: use another token", p.Name)
	}
	return nil
}

// Failed attempts per remote address: a burst, then one every few seconds. Successful calls cost nothing.
const (
	failureBurst    = 30
	failureInterval = 2 * time.Second
	maxAddresses    = 10_000
)

// doorkeeper slows down who keeps failing to authenticate. What keeps tokens from being guessed is their length; the
// doorkeeper keeps a script with a wrong one from hammering on.
type doorkeeper struct {
	mu        sync.Mutex
	addresses map[string]*rate.Limiter
}

// failed notes a failed attempt, and returns an *Error with 429 when the address has made too many.
func (d *doorkeeper) failed(address string, now time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	limiter, known := d.addresses[address]
	if !known {
		d.makeRoom(now)
		limiter = rate.NewLimiter(rate.Every(failureInterval), failureBurst)
		d.addresses[address] = limiter
	}
	if limiter.AllowN(now, 1) {
		return nil
	}
	return retryLater(http.StatusTooManyRequests, CodeTooManyRequests,
		"too many failed attempts from this address: wait before the next", failureInterval)
}

// makeRoom forgets addresses that have been quiet long enough to start afresh, and all of them when that is not enough:
// the memory that strangers can claim stays bounded.
func (d *doorkeeper) makeRoom(now time.Time) {
	if len(d.addresses) < maxAddresses {
		return
	}
	for address, limiter := range d.addresses {
		if limiter.TokensAt(now) >= failureBurst {
			delete(d.addresses, address)
		}
	}
	if len(d.addresses) >= maxAddresses {
		clear(d.addresses)
	}
}

// remoteHost strips the port from an address, because each attempt comes from another.
func remoteHost(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
