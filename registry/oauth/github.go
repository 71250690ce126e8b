package oauth

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/endpoints"
)

const (
	nameGitHub = "github"
	// githubIssuer is the iss with which GitHub may mark its answers.
	githubIssuer = "https://github.com/login/oauth"
	githubAPI    = "https://api.github.com"
)

// github speaks OAuth 2 without OpenID Connect: who signed in is what its API says
// to the token that the code was redeemed for.
type github struct {
	config oauth2.Config
	api    string
	client *http.Client
}

func newGitHub(c Client, base *url.URL, client *http.Client) *github {
	return &github{
		client: client,
		api:    githubAPI,
		config: oauth2.Config{
			ClientID: c.ID, ClientSecret: c.Secret,
			Endpoint: oauth2.Endpoint{
				AuthURL: endpoints.GitHub.AuthURL, TokenURL: endpoints.GitHub.TokenURL,
				// Said outright, because trying it out redeems a code twice.
				AuthStyle: oauth2.AuthStyleInParams,
			},
			RedirectURL: callbackURL(base, nameGitHub),
			Scopes:      []string{"read:user", "user:email"},
		},
	}
}

func (g *github) Name() string        { return nameGitHub }
func (g *github) DisplayName() string { return "GitHub" }
func (g *github) Enabled() bool       { return g.config.ClientID != "" && g.config.ClientSecret != "" }

func (g *github) Begin(_ context.Context, h Handshake) (string, error) {
	return g.config.AuthCodeURL(h.State, challenge(h.Verifier)), nil
}

func (g *github) Finish(ctx context.Context, h Handshake, a Answer) (Person, error) {
	if a.Issuer != "" && a.Issuer != githubIssuer {
		return Person{}, &checkError{ErrToken, "the answer comes from another issuer"}
	}
	token, err := exchange(withClient(ctx, g.client), &g.config, h, a.Code)
	if err != nil {
		return Person{}, err
	}
	return g.person(ctx, token.AccessToken)
}

type githubUser struct {
	ID    int64  `json:"id"`
	Login string `json:"login"`
	Name  string `json:"name"`
}

func (g *github) person(ctx context.Context, token string) (Person, error) {
	var user githubUser
	if err := g.get(ctx, "/user", token, &user); err != nil {
		return Person{}, err
	}
	var emails []struct {
		Primary  bool `json:"primary"`
		Verified bool `json:"verified"`
	}
	if err := g.get(ctx, "/user/emails?per_page=100", token, &emails); err != nil {
		return Person{}, err
	}
	if user.ID <= 0 {
		return Person{}, &checkError{ErrProvider, "the user has no id"}
	}
	for _, e := range emails {
		if e.Primary && e.Verified {
			return Person{nameGitHub, strconv.FormatInt(user.ID, 10), user.Login, user.Name}, nil
		}
	}
	return Person{}, ErrUnverified
}

func (g *github) get(ctx context.Context, path, token string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, g.api+path, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return ask(g.client, r, into)
}

// Claims knows the tokens of OAuth and GitHub Apps by their prefix. A personal
// access token (ghp_) was issued to no client at all.
func (g *github) Claims(token string) bool {
	return g.Enabled() && (strings.HasPrefix(token, "gho_") || strings.HasPrefix(token, "ghu_"))
}

func (g *github) CheckToken(ctx context.Context, token string) (Person, error) {
	body, err := json.Marshal(map[string]string{"access_token": token})
	if err != nil {
		return Person{}, err
	}
	where := g.api + "/applications/" + url.PathEscape(g.config.ClientID) + "/token"
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, where, bytes.NewReader(body))
	if err != nil {
		return Person{}, err
	}
	r.SetBasicAuth(g.config.ClientID, g.config.ClientSecret)
	r.Header.Set("Content-Type", "application/json")
	var grant struct {
		App struct {
			ClientID string `json:"client_id"`
		} `json:"app"`
		User githubUser `json:"user"`
	}
	if err := ask(g.client, r, &grant); err != nil {
		return Person{}, err
	}
	if grant.App.ClientID != g.config.ClientID {
		return Person{}, &checkError{ErrToken, "issued to another client"}
	}
	who, err := g.person(ctx, token)
	if err == nil && who.ID != strconv.FormatInt(grant.User.ID, 10) {
		return Person{}, &checkError{ErrToken, "two answers about one token"}
	}
	return who, err
}
