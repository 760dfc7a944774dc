package store

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"
)

// The roles that more than one part of Palier knows by name. Package admin has the others, and what each may do.
const (
	RoleAdmin = "admin"
	RoleEdge  = "edge"
)

// Token is what is known of an access token. The secret itself is nowhere: only its SHA-256 is kept, as the address.
type Token struct {
	Name      string    `json:"name"` // unique; shown in the audit log
	Role      string    `json:"role"`
	Apps      []string  `json:"apps,omitempty"` // the apps it is limited to; none means all
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // zero: never
}

// ErrRevoked is the ErrNotFound of a token that was revoked.
var ErrRevoked = fmt.Errorf("%w: the token was revoked", ErrNotFound)

// tokenItem is the value of a token's item.
type tokenItem struct {
	Token
	// Revoked marks what is left of a revoked token, for ever: whoever has the secret and means to create it again, as
	// a restart does with the first token, must learn that it was taken away.
	Revoked bool `json:"revoked,omitempty"`
}

// The versions of a token's item.
const (
	versionCreated = 1
	versionRevoked = 2
)

// tokenIndexItem is the value of a token's index item.
type tokenIndexItem struct {
	Token
	Hash string `json:"hash"` // hex
}

// Tokens keeps access tokens, found by the hash of their secret.
type Tokens struct{ Store Store }

// KeptAfterExpiry is how long an expired token is remembered, so that its holder can be told that it expired and not
// that it never was. Until then its name stays taken.
const KeptAfterExpiry = 30 * 24 * time.Hour

// Create stores the token whose secret has the SHA-256 hash. It fails with ErrConflict when the name or the secret is
// already in use, or when the secret was revoked.
func (t Tokens) Create(ctx context.Context, token Token, hash [32]byte) error {
	value, err := encodeValue(tokenItem{Token: token})
	if err != nil {
		return err
	}
	index, err := encodeValue(tokenIndexItem{token, hex.EncodeToString(hash[:])})
	if err != nil {
		return err
	}
	var forgotten time.Time
	if !token.ExpiresAt.IsZero() {
		forgotten = token.ExpiresAt.Add(KeptAfterExpiry)
	}
	err = t.Store.Write(ctx,
		Put(Item{Key: tokenKey(hash), Version: versionCreated, Value: value, Expires: forgotten}, Absent()),
		Put(Item{Key: tokenIndexKey(token.Name), Version: contentVersion(index), Value: index, Expires: forgotten}, Absent()))
	if err != nil {
		return fmt.Errorf("creating token %q: %w", token.Name, err)
	}
	return nil
}

// Find returns the token whose secret has the hash, ErrNotFound when there is none, and ErrRevoked, which is an
// ErrNotFound too, when it was revoked. A token that expired is still returned for KeptAfterExpiry: whether it has is
// for the caller to see.
func (t Tokens) Find(ctx context.Context, hash [32]byte) (Token, error) {
	item, err := t.Store.Get(ctx, tokenKey(hash), Strong)
	if err != nil {
		return Token{}, fmt.Errorf("finding a token: %w", err)
	}
	var found tokenItem
	if err := decodeItem(item, &found); err != nil {
		return Token{}, fmt.Errorf("finding a token: %w", err)
	}
	if found.Revoked {
		return Token{}, fmt.Errorf("finding a token: %w", ErrRevoked)
	}
	return found.Token, nil
}

// List returns all tokens in byte order of their names.
func (t Tokens) List(ctx context.Context) ([]Token, error) {
	items, err := t.Store.Query(ctx, Range{PK: pkTokens}, Strong)
	if err != nil {
		return nil, fmt.Errorf("listing tokens: %w", err)
	}
	tokens := make([]Token, len(items))
	for i, item := range items {
		var entry tokenIndexItem
		if err := decodeItem(item, &entry); err != nil {
			return nil, fmt.Errorf("listing tokens: %w", err)
		}
		tokens[i] = entry.Token
	}
	return tokens, nil
}

// Revoke ends the token at once and for good: no Find that starts later returns it, and its secret cannot be created
// again. Its name is free for another. It fails with ErrNotFound when no token has the name.
func (t Tokens) Revoke(ctx context.Context, name string) error {
	item, err := t.Store.Get(ctx, tokenIndexKey(name), Strong)
	if err != nil {
		return fmt.Errorf("revoking token %q: %w", name, err)
	}
	var entry tokenIndexItem
	if err := decodeItem(item, &entry); err != nil {
		return fmt.Errorf("revoking token %q: %w", name, err)
	}
	var hash [32]byte
	if n, err := hex.Decode(hash[:], []byte(entry.Hash)); err != nil || n != len(hash) {
		return fmt.Errorf("revoking token %q: its index item is damaged: hash %q", name, entry.Hash)
	}
	value, err := encodeValue(tokenItem{Token: entry.Token, Revoked: true})
	if err != nil {
		return fmt.Errorf("revoking token %q: %w", name, err)
	}
	err = t.Store.Write(ctx,
		Delete(item.Key, AtVersion(item.Version)),
		Put(Item{Key: tokenKey(hash), Version: versionRevoked, Value: value}, Always()))
	if err != nil {
		return fmt.Errorf("revoking token %q: %w", name, err)
	}
	return nil
}
