package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"time"

	"github.com/quic-go/quic-go"
)

// raw is two ends of a stream of quic-go, with the windows that libp2p gives its own. The
// far end says with a byte that it has read as much as was announced.
type raw struct {
	out  *quic.Stream
	due  chan int // messages that the far end is to read
	read chan error
	body []byte
}

// readAhead is what the product reads with, too.
const readAhead = 16 << 10

var rawConfig = &quic.Config{MaxStreamReceiveWindow: 10 << 20, MaxConnectionReceiveWindow: 15 << 20}

func (h *house) openRaw() (*raw, error) {
	server, client, err := rawTLS()
	if err != nil {
		return nil, err
	}
	l, err := quic.ListenAddr("127.0.0.1:0", server, rawConfig)
	if err != nil {
		return nil, err
	}
	h.atEnd(l.Close)
	r := &raw{due: make(chan int), read: make(chan error), body: make([]byte, bodySize)}
	ctx, cancel := context.WithCancel(context.Background())
	h.atEnd(func() error { cancel(); return nil })
	go r.listen(ctx, l)
	conn, err := quic.DialAddr(ctx, l.Addr().String(), client, rawConfig)
	if err != nil {
		return nil, err
	}
	h.atEnd(func() error { return conn.CloseWithError(0, "") })
	r.out, err = conn.OpenStreamSync(ctx)
	return r, err
}

func (r *raw) listen(ctx context.Context, l *quic.Listener) {
	err := r.readAll(ctx, l)
	for {
		select {
		case r.read <- err:
		case <-ctx.Done():
			return
		}
	}
}

func (r *raw) readAll(ctx context.Context, l *quic.Listener) error {
	conn, err := l.Accept(ctx)
	if err != nil {
		return err
	}
	in, err := conn.AcceptStream(ctx)
	if err != nil {
		return err
	}
	buf, ahead := make([]byte, bodySize), bufio.NewReaderSize(in, readAhead)
	for {
		select {
		case <-ctx.Done():
			return nil
		case n := <-r.due:
			for range n {
				if _, err := io.ReadFull(ahead, buf); err != nil {
					return err
				}
			}
			r.read <- nil
		}
	}
}

// carry writes n messages and returns when they were read.
func (r *raw) carry(n int) (time.Duration, error) {
	start := time.Now()
	for i := range n {
		if _, err := r.out.Write(r.body); err != nil {
			return 0, err
		}
		if i > 0 {
			continue
		}
		select {
		case r.due <- n: // the far end has the stream with the first byte
		case err := <-r.read:
			return 0, err
		}
	}
	err := <-r.read
	return time.Since(start), err
}

func rawTLS() (server, client *tls.Config, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"floor"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	parsed, err := x509.ParseCertificate(cert)
	if err != nil {
		return nil, nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	server = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}, NextProtos: []string{"floor"}}
	return server, &tls.Config{RootCAs: roots, ServerName: "floor", NextProtos: []string{"floor"}}, nil
}
