package oauth

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"strconv"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

var pages = template.Must(template.New("").Parse(pageText))

// View is what one of the pages shows. What an agent says about itself is in Name
// alone.
type View struct {
	Title    string
	Provider string // for people
	DID      string
	Name     string
	State    string
	Confirm  string
	// Code and Text tell what went wrong; empty: nothing.
	Code, Text string
}

// WriteStart shows which agent the human is about to vouch for.
func WriteStart(w http.ResponseWriter, v View) error { return writePage(w, http.StatusOK, "start", v) }

// WriteEnd shows how the flow ended.
func WriteEnd(w http.ResponseWriter, status int, v View) error {
	return writePage(w, status, "end", v)
}

// writePage writes a page that no other site can put into a frame and that the
// browser neither keeps nor names to the provider: its address has the state.
func writePage(w http.ResponseWriter, status int, name string, v View) error {
	var b bytes.Buffer
	err := pages.ExecuteTemplate(&b, name, struct {
		View
		Style template.CSS
	}{v, template.CSS(pageStyle)})
	if err != nil {
		return err
	}
	style := sha256.Sum256([]byte(pageStyle))
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; style-src 'sha256-"+
		base64.StdEncoding.EncodeToString(style[:])+"'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, err = b.WriteTo(w)
	return err
}
