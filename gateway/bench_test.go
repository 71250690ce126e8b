package gateway_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"

	"amesh/gateway"
	"amesh/gateway/amtp"
	"amesh/gateway/gatewaytest"
)

// clients is how many send at a time.
const clients = 16

// post posts a message again and again.
func post(b *testing.B, url, key string, body []byte) {
	b.Helper()
	b.SetParallelism(max(1, clients/runtime.GOMAXPROCS(0)))
	b.ReportAllocs()
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer c.CloseIdleConnections()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req, err := http.NewRequest(http.MethodPost, url+"/v1/messages", bytes.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			req.Header.Set("Authorization", "Bearer "+key)
			resp, err := c.Do(req)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				b.Errorf("status %d", resp.StatusCode)
				return
			}
		}
	})
}

// benchMessage is a message of 1 KiB.
func benchMessage(b *testing.B, from, to string) []byte {
	b.Helper()
	body, err := json.Marshal(map[string]any{
		"version": amtp.Version, "sender": from, "recipients": []string{to}, "payload": map[string]string{"text": strings.Repeat("x", 870)},
	})
	if err != nil {
		b.Fatal(err)
	}
	return body
}

// BenchmarkBare is the least that a server can do: what BenchmarkAccept is measured by.
func BenchmarkBare(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m map[string]any
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"message_id": "0", "status": "delivered", "recipients": m["recipients"]})
	}))
	defer srv.Close()
	post(b, srv.URL, "", benchMessage(b, "ann@a.test", "bob@a.test"))
}

// BenchmarkAccept takes messages of 1 KiB for an agent that fetches them, in memory, or with
// AMESH_BENCH_DURABLE=1 in a file.
func BenchmarkAccept(b *testing.B) {
	g := gatewaytest.StartWith(b, func(c *gateway.Config) {
		c.Rates.Off = true
		if os.Getenv("AMESH_BENCH_DURABLE") == "" {
			c.Open = gatewaytest.Memory(b)
		}
	}, "a.test").At("a.test")
	ann, bob := g.Register("ann"), g.Register("bob")
	body := benchMessage(b, ann.Address, bob.Address)
	b.ResetTimer()
	post(b, g.URL, ann.Key, body)
}
