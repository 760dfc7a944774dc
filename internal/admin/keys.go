package admin

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"time"

	"github.com/palier-ota/palier/internal/seal"
	"github.com/palier-ota/palier/internal/store"
)

// KeyView is a signing key without its private half.
type KeyView struct {
	Key       string    `json:"key" doc:"The Ed25519 public key in base64, as edges are given it" example:"iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w="`
	CreatedAt time.Time `json:"created_at"`
}

// KeysView is the keys that sign snapshots for edges.
type KeysView struct {
	Current KeyView  `json:"current" doc:"Signs snapshots now: every edge must trust it"`
	Next    *KeyView `json:"next,omitempty" doc:"Prepared to follow: let every edge trust it too, then activate it"`
}

// PrepareBody asks for the next signing key.
type PrepareBody struct {
	Replace bool `json:"replace,omitempty" doc:"Draw another one even if one is prepared already"`
}

// ActivateBody names the key to sign with from now on.
type ActivateBody struct {
	Key string `json:"key" required:"true" doc:"The next key, so that no other one than edges were told of is activated"`
}

type keysInput struct {
	RawBody []byte
}

func (s *Service) routeKeys(r router) {
	register(r, call{
		method: http.MethodGet, path: "/keys", id: "get-keys", summary: "The public keys that edges are to trust", tag: "edges", role: Viewer,
	}, func(ctx context.Context, _ *struct{}) (*object[KeysView], error) {
		ring, err := s.keys.Ensure(ctx)
		return viewKeys(ring, err)
	})
	register(r, call{
		method: http.MethodPost, path: "/keys/next", id: "prepare-key", summary: "Prepare the next signing key", tag: "edges", role: Admin,
		body: reflect.TypeFor[PrepareBody](), bodyOptional: true, bodyLimit: maxRequest, errors: []int{400, 409, 413, 415},
		example: map[string]any{"replace": false},
	}, s.prepareKey)
	register(r, call{
		method: http.MethodPost, path: "/keys/activate", id: "activate-key", summary: "Sign with the next key from now on", tag: "edges", role: Admin,
		body: reflect.TypeFor[ActivateBody](), bodyLimit: maxRequest, errors: []int{400, 409, 413, 415},
		example: map[string]any{"key": "iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w="},
	}, s.activateKey)
}

func viewKeys(ring store.KeyRing, err error) (*object[KeysView], error) {
	if err != nil {
		return nil, err
	}
	view := KeysView{Current: viewKey(ring.Current)}
	if ring.Next != nil {
		next := viewKey(*ring.Next)
		view.Next = &next
	}
	return answerWith(view), nil
}

func viewKey(k store.SigningKey) KeyView { return KeyView{Key: k.String(), CreatedAt: k.CreatedAt} }

func (s *Service) prepareKey(ctx context.Context, in *keysInput) (*object[KeysView], error) {
	var body PrepareBody
	if len(in.RawBody) > 0 {
		var err error
		if body, err = readBody[PrepareBody](contentType(ctx), in.RawBody); err != nil {
			return nil, err
		}
	}
	ring, err := s.keys.Prepare(ctx, body.Replace)
	if err == nil {
		s.log.InfoContext(ctx, "next signing key prepared", "key", ring.Next.String(), "actor", caller(ctx).Name)
	}
	return viewKeys(ring, err)
}

func (s *Service) activateKey(ctx context.Context, in *keysInput) (*object[KeysView], error) {
	body, err := readBody[ActivateBody](contentType(ctx), in.RawBody)
	if err != nil {
		return nil, err
	}
	key, ok := seal.ParseKey(body.Key)
	if !ok {
		return nil, invalid(CodeMalformed, "the request", []Problem{{Path: "key", Message: "want a public key as GET /api/v1/keys shows it"}}, 1)
	}
	ring, err := s.keys.Activate(ctx, key)
	switch {
	case errors.Is(err, store.ErrNoNextKey):
		return nil, refuse(http.StatusConflict, CodeNoNextKey, "no next key is prepared: `palier keys rotate` prepares one")
	case errors.Is(err, store.ErrConflict):
		return nil, refuse(http.StatusConflict, CodeConflict, "another next key is prepared: look at GET /api/v1/keys again")
	case err == nil:
		s.log.InfoContext(ctx, "signing key activated", "key", ring.Current.String(), "actor", caller(ctx).Name)
	}
	return viewKeys(ring, err)
}
