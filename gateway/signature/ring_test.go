package signature_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"amesh/gateway/signature"
)

func TestRotation(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	ring, err := signature.OpenRing(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Sign([]byte(message)); !errors.Is(err, signature.ErrNoneSigning) || ring.Signs() {
		t.Errorf("an empty ring: %v", err)
	}
	first, err := ring.Add("k1")
	if err != nil || !first.Signs {
		t.Fatal(first, err)
	}
	second, err := ring.Add("k2")
	if err != nil || second.Signs {
		t.Fatal(second, err)
	}
	z := &zone{texts: map[string][]string{}}
	for _, p := range ring.Published("north.test") {
		z.texts[p.Name] = []string{p.Text}
	}
	if len(z.texts) != 2 || z.texts["k1._amtpkey.north.test"][0] != first.Text || len(first.Text) > 255 {
		t.Errorf("published %v", z.texts)
	}
	signs := func(r *signature.Ring, want string) {
		t.Helper()
		text, err := r.Sign([]byte(message))
		if err != nil {
			t.Fatal(err)
		}
		if got := verifier(t, z).Verify(t.Context(), text); got.Result != "verified" || got.KeyID != want {
			t.Errorf("got %+v, want %s", got, want)
		}
	}
	signs(ring, "k1")
	if err := ring.Retire("k1"); !errors.Is(err, signature.ErrKeySigns) {
		t.Errorf("retired the key that signs: %v", err)
	}
	if err := ring.Use("k2"); err != nil {
		t.Fatal(err)
	}
	signs(ring, "k2")

	again, err := signature.OpenRing(dir)
	if err != nil || len(again.Published("north.test")) != 2 {
		t.Fatal(err)
	}
	signs(again, "k2")
	if err := again.Retire("k1"); err != nil {
		t.Fatal(err)
	}
	if err := ring.Reload(); err != nil || len(ring.Published("north.test")) != 1 {
		t.Errorf("reloaded: %v, %v", ring.Published("north.test"), err)
	}
	for what, err := range map[string]error{"use": ring.Use("k1"), "retire": ring.Retire("k1")} {
		if !errors.Is(err, signature.ErrNoKey) {
			t.Errorf("%s a retired key: %v", what, err)
		}
	}
	if _, err := ring.Add("k2"); !errors.Is(err, signature.ErrKeyExists) {
		t.Errorf("a key twice: %v", err)
	}
	for _, selector := range []string{"", "K", "a.b", "../x", "-a", "a-", "a_b", strings.Repeat("a", 64)} {
		if _, err := ring.Add(selector); !errors.Is(err, signature.ErrKey) {
			t.Errorf("%q: %v", selector, err)
		}
	}
}

func TestKeyFilesAreForTheirOwnerOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ring, err := signature.OpenRing(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Add("k1"); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f.Name(), info.Mode(), err)
		}
	}
}

func TestABrokenFolderIsNotTakenOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ring, err := signature.OpenRing(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Add("k1"); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"k2.pem": "garbage", "signing": "k9"} {
		path := filepath.Join(dir, name)
		before, _ := os.ReadFile(path)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := ring.Reload(); err == nil || !ring.Signs() {
			t.Errorf("%s: %v", name, err)
		}
		if before == nil {
			err = os.Remove(path)
		} else {
			err = os.WriteFile(path, before, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := ring.Reload(); err != nil {
		t.Error(err)
	}
}

func TestKeysOfOpenSSLAreRead(t *testing.T) {
	t.Parallel()
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	sec1 := func(k *ecdsa.PrivateKey) []byte {
		der, err := x509.MarshalECPrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	}
	parameters := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}})
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, append(parameters, sec1(p256)...), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := signature.LoadKey("k1", path)
	if err != nil {
		t.Fatal(err)
	}
	ring := signature.FixedRing(key)
	if _, err := ring.Sign([]byte(message)); err != nil {
		t.Error(err)
	}
	if _, err := ring.Add("k2"); !errors.Is(err, signature.ErrRingFixed) {
		t.Errorf("a fixed ring grew: %v", err)
	}
	if strings.Contains(key.String(), "BEGIN") || !strings.Contains(key.String(), "hidden") {
		t.Errorf("printed as %s", key)
	}
	for name, text := range map[string][]byte{"P-384": sec1(p384), "nothing": nil, "parameters only": parameters,
		"garbage": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})} {
		if _, err := signature.ReadKey("k1", text); !errors.Is(err, signature.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
