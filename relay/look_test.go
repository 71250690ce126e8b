package relay

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestLookReadsWhatARelayTellsEverybody(t *testing.T) {
	answer := func(status int, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept") != typeJSON || r.URL.Path != connectPath {
				http.Error(w, "no", http.StatusTeapot)
				return
			}
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}))
		t.Cleanup(s.Close)
		return strings.Replace(s.URL, "http", "ws", 1)
	}
	url := answer(http.StatusOK, `{"schema":"amesh.relay-info/1","name":"r","stun":":3478"}`)
	info, err := Look(t.Context(), url, nil)
	if err != nil || info.Name != "r" || info.STUN != "127.0.0.1:3478" {
		t.Errorf("%+v, %v", info, err)
	}
	if info, err = Look(t.Context(), answer(http.StatusOK, `{"stun":"nowhere"}`), nil); err != nil || info.STUN != "" {
		t.Errorf("a STUN server that is none: %+v, %v", info, err)
	}
	for name, url := range map[string]string{
		"no document": answer(http.StatusUpgradeRequired, "connect with a WebSocket"), "elsewhere": answer(http.StatusFound, ""),
		"no relay": "http://127.0.0.1", "too long": answer(http.StatusOK, `{"name":"`+strings.Repeat("x", maxInfo)+`"}`),
	} {
		if info, err := Look(t.Context(), url, nil); err == nil {
			t.Errorf("%s: %+v", name, info)
		}
	}
}
