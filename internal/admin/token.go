package admin

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/palier-ota/palier/internal/store"
)

// Role is what a token may do.
type Role string

// The roles. Each of the first three may do all that the one before may. An edge token lets nobody into this API: it is for
// package relay, which hands out snapshots, with the salts that nobody else is shown.
const (
	Viewer   Role = "viewer"        // reads
	Operator Role = "operator"      // applies documents and operates rollouts
	Admin    Role = store.RoleAdmin // manages tokens and deletes apps
	Edge     Role = store.RoleEdge  // reads snapshots and hands over what devices report
)

// rank orders the roles that contain each other; 0 for those that stand apart.
func (r Role) rank() int {
	switch r {
	case Viewer:
		return 1
	case Operator:
		return 2
	case Admin:
		return 3
	}
	return 0
}

// Allows reports whether a token of role r may do what needs the role needed.
func (r Role) Allows(needed Role) bool {
	if needed == Edge {
		return r == Edge || r == Admin
	}
	return r.rank() >= needed.rank() && needed.rank() > 0
}

const (
	tokenPrefix  = "plr_"
	tokenEntropy = 32 // bytes
	// A first admin token is chosen by people: less than this is a slip. Whoever serves warns of short ones.
	minTokenLength = 4
	maxTokenLength = 256
	maxTokenName   = 64
)

// DrawSecret returns the secret of a new token, which nobody knows yet: see NewToken and BootstrapHash.
func DrawSecret(random io.Reader) (string, error) {
	raw := make([]byte, tokenEntropy)
	if _, err := io.ReadFull(random, raw); err != nil {
		return "", fmt.Errorf("drawing a token: %w", err)
	}
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(raw), nil
}

// wellFormed reports whether text can be a token at all: printable ASCII without spaces, of a length that is sent on
// purpose.
func wellFormed(text string) bool {
	if len(text) < minTokenLength || len(text) > maxTokenLength {
		return false
	}
	return !strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' })
}

// NewToken creates a token and returns its secret, which is stored nowhere. A ttl of 0 means that it never expires.
// The error is an *Error when the name or the role will not do.
func (s *Service) NewToken(ctx context.Context, name string, role Role, ttl time.Duration) (string, error) {
	_, secret, err := s.newToken(ctx, store.Token{Name: name, Role: string(role)}, ttl)
	return secret, err
}

func (s *Service) newToken(ctx context.Context, token store.Token, ttl time.Duration) (store.Token, string, error) {
	if err := checkToken(token, ttl); err != nil {
		return token, "", err
	}
	secret, err := DrawSecret(s.random)
	if err != nil {
		return token, "", err
	}
	token.CreatedAt = s.now().UTC()
	if ttl > 0 {
		token.ExpiresAt = token.CreatedAt.Add(ttl)
	}
	err = s.tokens.Create(ctx, token, sha256.Sum256([]byte(secret)))
	if errors.Is(err, store.ErrConflict) {
		return token, "", refuse(http.StatusConflict, CodeConflict,
			"there is already a token called %q: choose another name or revoke it first", clip(token.Name))
	}
	return token, secret, err
}

func checkToken(token store.Token, ttl time.Duration) error {
	var problems []Problem
	name := token.Name
	if name == "" || len(name) > maxTokenName || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' || c == '/' }) {
		problems = append(problems, Problem{Path: "name", Message: "want 1 to 64 printable characters without spaces and slashes"})
	}
	switch Role(token.Role) {
	case Viewer, Operator, Admin, Edge:
	default:
		problems = append(problems, Problem{Path: "role", Message: "want viewer, operator, admin or edge"})
	}
	if ttl < 0 {
		problems = append(problems, Problem{Path: "ttl", Message: "want a positive duration, or none for a token that does not expire"})
	}
	if len(problems) > 0 {
		return invalid(CodeMalformed, "the request", problems, len(problems))
	}
	return nil
}

// Bootstrap makes token a valid admin token, as the first one that lets in whoever creates the others. Calling it again
// with the same token changes nothing. It fails when the token is too short to be a secret, and when it was revoked: a
// restart must not bring back what an admin took away.
func (s *Service) Bootstrap(ctx context.Context, token string) error {
	if !wellFormed(token) {
		return fmt.Errorf("the first admin token must have %d to %d printable characters without spaces", minTokenLength, maxTokenLength)
	}
	err := s.BootstrapHash(ctx, sha256.Sum256([]byte(token)))
	if errors.Is(err, store.ErrRevoked) {
		return errors.New("this token was revoked; remove the token file or set another PALIER_TOKEN")
	}
	return err
}

// BootstrapHash is Bootstrap for a host that must not hold the token itself: only the SHA-256 of its text, which is also
// all that is ever stored of a token. It fails with store.ErrRevoked when the token was revoked.
func (s *Service) BootstrapHash(ctx context.Context, hash [sha256.Size]byte) error {
	_, err := s.tokens.Find(ctx, hash) // mostly it is there, and reading is cheaper than failing to write
	if !errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrRevoked) {
		return err
	}
	record := store.Token{
		Name: "admin-" + hex.EncodeToString(hash[:4]), Role: string(Admin), CreatedAt: s.now().UTC(),
	}
	err = s.tokens.Create(ctx, record, hash)
	if errors.Is(err, store.ErrConflict) { // someone else was first
		_, err = s.tokens.Find(ctx, hash)
	}
	return err
}
