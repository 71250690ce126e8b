package metrics

import (
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"amesh/internal/exporter"
	"amesh/registry"
)

func TestNumbersAreShown(t *testing.T) {
	stats := registry.Stats{Ready: true, Requests: []registry.RequestCount{
		{Class: 4, N: 2}, {Method: "POST", Path: "/v1/registry/status", Class: 2, N: 7}}}
	e, err := New(func() registry.Stats { return stats }, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	e.ServeHTTP(w, httptest.NewRequest("GET", exporter.Path, nil))
	for _, line := range []string{
		"amesh_registry_ready 1",
		`amesh_registry_requests_total{class="2xx",method="POST",path="/v1/registry/status"} 7`,
		`amesh_registry_requests_total{class="4xx",method="",path=""} 2`,
	} {
		if !strings.Contains(w.Body.String(), "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
}
