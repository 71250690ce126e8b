package exporter

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newExporter(t *testing.T) *Exporter {
	t.Helper()
	e, err := New(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "seven", Help: "x"}, func() float64 { return 7 }), nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestNothingElseIsAnswered(t *testing.T) {
	for _, c := range []struct{ method, path string }{{"GET", "/"}, {"POST", Path}, {"GET", "/debug/pprof/"}} {
		w := httptest.NewRecorder()
		newExporter(t).ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		if w.Code != http.StatusNotFound {
			t.Errorf("%s %s: %d", c.method, c.path, w.Code)
		}
	}
}

func TestServesUntilTheEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- newExporter(t).Serve(ctx, l) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + l.Addr().String() + Path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || !strings.Contains(string(text), "go_goroutines") || !strings.Contains(string(text), "\nseven 7\n") {
		t.Errorf("%s, %v", text, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("Serve = %v", err)
	}
}
