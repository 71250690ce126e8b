package proxy

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"
)

// listenTLS ends TLS in front of addr.
func listenTLS(t *testing.T, conf *tls.Config, addr string) string {
	t.Helper()
	conf = &tls.Config{Certificates: conf.Certificates}
	l, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				far, err := net.Dial("tcp", addr)
				if err != nil {
					return
				}
				defer far.Close()
				go func() {
					_, _ = io.Copy(far, conn)
					_ = far.Close()
				}()
				_, _ = io.Copy(conn, far)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}
