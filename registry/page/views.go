package page

import (
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"amesh/identity"
	"amesh/registry/wire"
)

// maxWords is the longest text of a form field that is looked at, in bytes.
const maxWords = 200

// helpers are what templates may call. The texts of agents pass through line or text.
var helpers = template.FuncMap{
	"line":    wire.Line,
	"text":    func(s string) string { return wire.Text(s, 2048) },
	"percent": func(f float64) string { return fmt.Sprintf("%.0f", 100*min(max(f, 0), 1)) },
	"day":     func(t wire.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") },
	"seconds": func(n uint32) string { return (time.Duration(n) * time.Second).String() },
	"short":   short,
}

// short is an AMID for people: its two ends.
func short(amid string) string {
	if len(amid) < 16 {
		return amid
	}
	return amid[:8] + "…" + amid[len(amid)-4:]
}

func (p *Pages) home(w http.ResponseWriter, r *http.Request) {
	o, err := p.cfg.Source.Overview(r.Context())
	if err != nil {
		p.fail(w, r, wire.SearchQuery{}, err)
		return
	}
	p.show(w, r, http.StatusOK, "home", "", frame{View: o})
}

// results is what the view of a search shows.
type results struct {
	wire.SearchPage
	First bool
	Later string // path of the next page, empty without one
}

func (p *Pages) search(w http.ResponseWriter, r *http.Request) {
	q, err := queryOf(r)
	if err != nil {
		p.fail(w, r, q, err)
		return
	}
	found, err := p.cfg.Source.Search(r, q)
	if err != nil {
		p.fail(w, r, q, err)
		return
	}
	view := results{SearchPage: found, First: q.Cursor == ""}
	if found.Next != "" {
		next := r.URL.Query()
		next.Set("cursor", found.Next)
		view.Later = "/search?" + next.Encode()
	}
	title := "Search"
	if q.Q != "" {
		title = wire.Line(q.Q, 60)
	}
	p.show(w, r, http.StatusOK, "search", title, frame{Query: q, View: view})
}

// queryOf reads the form. Empty fields, which a browser sends, are no conditions.
func queryOf(r *http.Request) (wire.SearchQuery, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return wire.SearchQuery{}, wire.Invalid("the address of this page is malformed: start with the form above")
	}
	q := wire.SearchQuery{Limit: 20, Cursor: values.Get("cursor")}
	for name, field := range map[string]*string{"q": &q.Q, "category": &q.Category, "subcategory": &q.Subcategory,
		"action": &q.Action, "prefix": &q.Prefix, "tier": &q.Tier} {
		*field = strings.TrimSpace(values.Get(name))
		if len(*field) > maxWords {
			return wire.SearchQuery{}, wire.Invalid("that is too long to search for: a few words do")
		}
	}
	return q, nil
}

// details is what the view of an agent shows.
type details struct {
	wire.AgentView
	Title string
}

func (p *Pages) agent(w http.ResponseWriter, r *http.Request) {
	amid, err := identity.ParseAMID(r.PathValue("amid"))
	if err != nil {
		p.fail(w, r, wire.SearchQuery{}, wire.NotFound("that is no agent's name: an AMID has 20 to 28 letters and digits"))
		return
	}
	view, err := p.cfg.Source.Agent(r, amid)
	if err != nil {
		p.fail(w, r, wire.SearchQuery{}, err)
		return
	}
	title := wire.Line(view.Agent.Name, 64)
	if title == "" {
		title = short(view.Agent.AMID)
	}
	p.show(w, r, http.StatusOK, "agent", title, frame{View: details{AgentView: view, Title: title}})
}

func (p *Pages) describe(w http.ResponseWriter, r *http.Request) {
	p.show(w, r, http.StatusOK, "api", "API", frame{View: p.api})
}
