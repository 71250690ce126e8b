package https

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// write makes a certificate of its own with a serial number.
func write(t *testing.T, dir string, serial int64) (cert, key string) {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "relay.example.test"}, DNSNames: []string{"relay.example.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, secret.Public(), secret)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: text}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestFilesAreReadAgainWhenTheyFitTogether(t *testing.T) {
	dir := t.TempDir()
	cert, key := write(t, dir, 1)
	f, err := NewFiles(cert, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	serial := func(after time.Duration, want int64) {
		t.Helper()
		parsed, err := x509.ParseCertificate(f.get(now.Add(after)).Certificate[0])
		if err != nil || parsed.SerialNumber.Int64() != want {
			t.Fatalf("certificate %v, %v; want %d", parsed.SerialNumber, err, want)
		}
	}
	// A file's time may be too coarse to tell one moment from the next.
	later := func(by time.Duration) {
		t.Helper()
		for _, path := range []string{cert, key} {
			if err := os.Chtimes(path, now.Add(by), now.Add(by)); err != nil {
				t.Fatal(err)
			}
		}
	}
	serial(0, 1)
	write(t, dir, 2)
	later(time.Second)
	serial(time.Second, 1) // not looked at yet
	serial(time.Minute, 2)
	if err := os.WriteFile(key, []byte("half of a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	serial(2*time.Minute, 2)
	write(t, dir, 3)
	later(2 * time.Second)
	serial(3*time.Minute, 3)
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	serial(4*time.Minute, 3)
	if got, err := f.TLS().GetCertificate(nil); err != nil || got == nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestFilesMustBeThere(t *testing.T) {
	dir := t.TempDir()
	cert, key := write(t, dir, 1)
	if _, err := NewFiles(cert, filepath.Join(dir, "none"), nil); err == nil {
		t.Error("no key")
	}
	if _, err := NewFiles(key, cert, nil); err == nil {
		t.Error("key and certificate in each other's place")
	}
}
