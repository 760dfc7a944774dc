package admin

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"time"

	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
)

// TokenBody asks for a token.
type TokenBody struct {
	Name string           `json:"name" required:"true" example:"ci" doc:"Unique; the audit log shows it"`
	Role Role             `json:"role" required:"true" enum:"viewer,operator,admin,edge"`
	TTL  rollout.Duration `json:"ttl,omitempty" example:"90d" doc:"How long it is good for; for ever if left out"`
	Apps []string         `json:"apps,omitempty" doc:"The apps it is limited to; none means all"`
}

type tokenInput struct {
	RawBody []byte
}

type tokenPath struct {
	Name string `path:"name" maxLength:"64" example:"ci" doc:"The token's name"`
}

func (s *Service) routeTokens(r router) {
	register(r, call{
		method: http.MethodGet, path: "/whoami", id: "whoami", summary: "The caller's own token", tag: "access", role: Viewer,
	}, func(ctx context.Context, _ *struct{}) (*object[Whoami], error) {
		p := caller(ctx)
		return answerWith(Whoami(p)), nil
	})
	register(r, call{
		method: http.MethodPost, path: "/tokens", id: "create-token", summary: "Create a token", tag: "access", role: Admin,
		body: reflect.TypeFor[TokenBody](), bodyLimit: maxRequest, success: http.StatusCreated, errors: []int{400, 409, 413, 415},
		example: map[string]any{"name": "ci", "role": "operator", "ttl": "90d"},
	}, s.createToken)
	register(r, call{
		method: http.MethodGet, path: "/tokens", id: "list-tokens", summary: "List tokens, without their secrets", tag: "access", role: Admin,
	}, func(ctx context.Context, _ *struct{}) (*object[Items[TokenView]], error) {
		tokens, err := s.tokens.List(ctx)
		views := make([]TokenView, len(tokens))
		for i, token := range tokens {
			views[i] = viewToken(token, s.now())
		}
		return answerWith(Items[TokenView]{Items: views}), err
	})
	register(r, call{
		method: http.MethodDelete, path: "/tokens/{name}", id: "revoke-token", summary: "Revoke a token at once", tag: "access", role: Admin,
		success: http.StatusNoContent, errors: []int{404},
	}, s.revokeToken)
}

func viewToken(t store.Token, now time.Time) TokenView {
	return TokenView{
		Name: t.Name, Role: Role(t.Role), Apps: t.Apps, CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt, Expired: expired(t, now),
	}
}

// expired reports whether t is good no more; one without an end always is.
func expired(t store.Token, now time.Time) bool {
	return !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt)
}

func (s *Service) createToken(ctx context.Context, in *tokenInput) (*object[NewTokenView], error) {
	body, err := readBody[TokenBody](contentType(ctx), in.RawBody)
	if err != nil {
		return nil, err
	}
	token, secret, err := s.newToken(ctx, store.Token{Name: body.Name, Role: string(body.Role), Apps: body.Apps}, body.TTL.Std())
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "token created", "name", token.Name, "role", token.Role, "actor", caller(ctx).Name)
	return answerWith(NewTokenView{TokenView: viewToken(token, token.CreatedAt), Token: secret}), nil
}

func (s *Service) revokeToken(ctx context.Context, in *tokenPath) (*struct{}, error) {
	err := s.tokens.Revoke(ctx, in.Name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, notFound("token", in.Name)
	}
	if err == nil {
		s.log.InfoContext(ctx, "token revoked", "name", in.Name, "actor", caller(ctx).Name)
	}
	return nil, err
}
