package registry

import (
	"context"
	"net/http"
	"strings"

	"amesh/identity"
	"amesh/registry/page"
	"amesh/registry/wire"
)

// pageSubject shows the registry to people.
func (s *Server) pageSubject() error {
	cfg := page.Config{Source: shelf{s}, API: s.finding.api, Logger: s.log}
	if len(s.cfg.Names) > 0 {
		cfg.BaseURL = "https://" + strings.TrimSuffix(s.cfg.Names[0], ":443")
	}
	pages, err := page.New(cfg)
	if err != nil {
		return err
	}
	for path, handler := range pages.Routes() {
		s.routes = append(s.routes, route{method: http.MethodGet, path: path, raw: handler})
	}
	return nil
}

// shelf is what pages are made of: the same answers that programs get, within the same
// limits.
type shelf struct{ s *Server }

// Overview implements page.Source. Before the database is there, there is nothing.
func (f shelf) Overview(ctx context.Context) (wire.OurStats, error) {
	d := f.s.db.Load()
	if d == nil {
		return wire.OurStats{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, f.s.limits.AnswerWait)
	defer cancel()
	return f.s.amounts(ctx, d)
}

// Search implements page.Source.
func (f shelf) Search(hr *http.Request, q wire.SearchQuery) (wire.SearchPage, error) {
	r, cancel := f.s.begin(hr)
	defer cancel()
	found, err := f.s.find(r, q)
	return found, f.shown(r, err)
}

// Agent implements page.Source.
func (f shelf) Agent(hr *http.Request, amid identity.AMID) (wire.AgentView, error) {
	r, cancel := f.s.begin(hr)
	defer cancel()
	view, err := f.s.viewOf(r, amid)
	return view, f.shown(r, err)
}

// shown is an error as it may be shown.
func (f shelf) shown(r *request, err error) error {
	if e := f.s.refusal(r, err); e != nil {
		return e
	}
	return nil
}
