// Package page is the registry for people: what it is, how to join, search, an agent's
// card, and the description of its API.
//
// Pages are made on the server and work without a script; they load nothing but one
// style sheet of our own, which the Content-Security-Policy says, too. Everything that
// agents wrote is hostile: it is made visible and short (wire.Line, wire.Text) and
// escaped by html/template, never turned into a link.
package page

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	texttemplate "text/template"

	"github.com/danielgtaylor/huma/v2"

	"amesh/identity"
	"amesh/registry/wire"
)

//go:embed assets
var assets embed.FS

// Source is where the pages get what they show. Requests are passed on, because what
// may be asked is limited by who asks. A *Failure is shown to the reader, any other
// error is logged and not shown.
type Source interface {
	// Overview says how much there is, rounded as the registry rounds.
	Overview(ctx context.Context) (wire.OurStats, error)
	// Search runs our search.
	Search(r *http.Request, q wire.SearchQuery) (wire.SearchPage, error)
	// Agent returns what is known of one agent.
	Agent(r *http.Request, amid identity.AMID) (wire.AgentView, error)
}

// Config is what the pages need.
type Config struct {
	// BaseURL is the registry's own address, such as https://registry.example, for
	// the command with which one joins. Without it the request's Host is shown.
	BaseURL string
	Source  Source
	// API is described on the page of that name.
	API    *huma.OpenAPI
	Logger *slog.Logger
}

// Pages serves the pages; it is safe for concurrent use.
type Pages struct {
	cfg   Config
	views map[string]*template.Template
	skill *texttemplate.Template
	style []byte
	// styleName changes with the style sheet, which may thus be kept for ever.
	styleName string
	api       []operation
}

// New reads the templates.
func New(cfg Config) (*Pages, error) {
	if cfg.Source == nil || cfg.Logger == nil {
		return nil, errors.New("registry pages: source and logger are needed")
	}
	p := &Pages{cfg: cfg, views: make(map[string]*template.Template), api: operations(cfg.API)}
	var err error
	if p.style, err = assets.ReadFile("assets/style.css"); err != nil {
		return nil, err
	}
	if p.skill, err = texttemplate.ParseFS(assets, "assets/skill.md"); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(p.style)
	p.styleName = "/style-" + hex.EncodeToString(sum[:6]) + ".css"
	frame, err := template.New("frame.html").Funcs(helpers).ParseFS(assets, "assets/frame.html", "assets/row.html")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"home", "search", "agent", "api", "failure"} {
		view, err := frame.Clone()
		if err != nil {
			return nil, err
		}
		if p.views[name], err = view.ParseFS(assets, "assets/"+name+".html"); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Routes are the handlers by their paths, as in http.ServeMux, all for GET.
func (p *Pages) Routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"/{$}": p.home, "/search": p.search, "/agents/{amid}": p.agent, "/api": p.describe,
		"/skill.md": p.join,
		p.styleName: p.sheet, "/favicon.ico": noIcon,
	}
}

// noIcon answers what browsers ask for by themselves.
func noIcon(w http.ResponseWriter, _ *http.Request) {
	guard(w.Header())
	w.Header().Set("Cache-Control", "public, max-age=86400")
	w.WriteHeader(http.StatusNoContent)
}

// policy lets a page load its style sheet, send its search form home, and nothing else.
const policy = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// guard sets what every answer carries.
func guard(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
}

func (p *Pages) sheet(w http.ResponseWriter, _ *http.Request) {
	guard(w.Header())
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(p.style) // a reader who left cannot be told
}

// join tells an agent, which reads no HTML, how to come here (AgentMesh §3.2).
func (p *Pages) join(w http.ResponseWriter, r *http.Request) {
	var out bytes.Buffer
	if err := p.skill.Execute(&out, p.base(r)); err != nil {
		p.cfg.Logger.Error("registry page: not made", "view", "skill.md", "err", err)
		http.Error(w, "the registry made a mistake", http.StatusInternalServerError)
		return
	}
	guard(w.Header())
	w.Header().Set("Content-Type", "text/markdown; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(out.Bytes()) // a reader who left cannot be told
}

// frame is what every view is shown in.
type frame struct {
	Style string // path of the style sheet
	Title string
	Base  string // the registry's address, for people
	Query wire.SearchQuery
	View  any
}

func (p *Pages) show(w http.ResponseWriter, r *http.Request, status int, view, title string, f frame) {
	f.Style, f.Title, f.Base = p.styleName, title, p.base(r)
	var out bytes.Buffer
	if err := p.views[view].Execute(&out, f); err != nil {
		p.cfg.Logger.Error("registry page: not made", "view", view, "err", err)
		http.Error(w, "the registry made a mistake", http.StatusInternalServerError)
		return
	}
	guard(w.Header())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes()) // a reader who left cannot be told
}

// base is what the reader would type. The Host header is his own, and only he is shown it.
func (p *Pages) base(r *http.Request) string {
	if p.cfg.BaseURL != "" {
		return p.cfg.BaseURL
	}
	u := url.URL{Scheme: "http", Host: wire.Line(r.Host, 200)}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	return u.String()
}

// fail shows why there is no page.
func (p *Pages) fail(w http.ResponseWriter, r *http.Request, q wire.SearchQuery, err error) {
	f, ok := errors.AsType[*wire.Error](err)
	if !ok {
		p.cfg.Logger.Error("registry page: failed", "path", r.URL.Path, "err", err)
		f = wire.Errorf(http.StatusInternalServerError, wire.CodeInternal, "the registry made a mistake; its operator finds more in the log")
	}
	p.show(w, r, f.Status, "failure", http.StatusText(f.Status), frame{Query: q, View: f.Text})
}
