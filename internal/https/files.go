package https

import (
	"crypto/tls"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Files is a certificate and its key in two PEM files. It is safe for concurrent use.
type Files struct {
	cert, key string
	log       *slog.Logger

	mu     sync.Mutex
	now    *tls.Certificate
	looked time.Time
	seen   [2]stamp // of the files that now is from, or that could not be read
}

// stamp tells one content of a file from the next.
type stamp struct {
	size int64
	mod  time.Time
}

// NewFiles reads a certificate, with its chain, and its key. Later, files that changed
// are read again; as long as they do not fit together the earlier ones stay in
// force. A nil logger is silence.
func NewFiles(cert, key string, log *slog.Logger) (*Files, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &Files{cert: cert, key: key, log: log}
	seen, err := f.stamps()
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	f.now, f.seen, f.looked = &pair, seen, time.Now()
	return f, nil
}

// TLS is the configuration for a listener.
func (f *Files) TLS() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.get(time.Now()), nil },
	}
}

func (f *Files) get(now time.Time) *tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Sub(f.looked) < lookEvery {
		return f.now
	}
	f.looked = now
	seen, err := f.stamps()
	if err == nil && seen == f.seen {
		return f.now
	}
	f.seen = seen
	pair, loadErr := tls.LoadX509KeyPair(f.cert, f.key)
	if loadErr != nil {
		f.log.Warn("certificate not changed", "file", f.cert, "err", loadErr)
		return f.now
	}
	f.now = &pair
	f.log.Info("certificate changed", "file", f.cert)
	return f.now
}

func (f *Files) stamps() (seen [2]stamp, err error) {
	for i, path := range []string{f.cert, f.key} {
		var info fs.FileInfo
		if info, err = os.Stat(path); err != nil {
			return seen, err
		}
		seen[i] = stamp{size: info.Size(), mod: info.ModTime()}
	}
	return seen, nil
}
