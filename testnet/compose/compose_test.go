package compose

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/knadh/koanf/parsers/yaml"

	"amesh/testnet/plan"
)

func mixed(t *testing.T) *plan.Plan {
	t.Helper()
	p, err := plan.New(plan.Wish{Name: "tn", Nodes: 6, Relays: 2, NAT: "mixed",
		Public: netip.MustParsePrefix("11.77.0.0/24"), Inside: netip.MustParsePrefix("10.77.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func services(t *testing.T, p *plan.Plan) (services, networks map[string]any) {
	t.Helper()
	text, err := Render(p, User{UID: 1000, GID: 100}, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	file, err := yaml.Parser().Unmarshal([]byte(text))
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return file["services"].(map[string]any), file["networks"].(map[string]any)
}

// Only boxes have rights, everything has limits, and no image is pulled.
func TestEveryContainer(t *testing.T) {
	p := mixed(t)
	all, networks := services(t, p)
	if len(all) != 2+6+6 || len(networks) != 1+6 {
		t.Fatalf("%d services in %d networks", len(all), len(networks))
	}
	boxes := make(map[string]bool)
	for _, b := range p.Boxes {
		boxes[b.Name] = true
	}
	builds := 0
	for name, v := range all {
		s := v.(map[string]any)
		if _, ok := s["build"]; ok {
			builds++
		}
		if s["image"] != "tn-amesh" || s["mem_limit"] == nil || s["pids_limit"] == nil || s["container_name"] != "tn-"+name {
			t.Errorf("%s: %v", name, s)
		}
		if !slices.Equal(s["cap_drop"].([]any), []any{"ALL"}) || (s["cap_add"] != nil) != boxes[name] {
			t.Errorf("%s drops %v and adds %v", name, s["cap_drop"], s["cap_add"])
		}
		if s["privileged"] != nil || s["ports"] != nil || (!boxes[name] && (s["user"] != "1000:100" || s["healthcheck"] == nil)) {
			t.Errorf("%s: %v", name, s)
		}
	}
	if builds != 1 {
		t.Errorf("%d services build the image, want one", builds)
	}
	if public := networks["public"].(map[string]any); public["internal"] != true {
		t.Errorf("the public network is %v", public)
	}
}

// The way out of everybody behind a box is the box.
func TestGateways(t *testing.T) {
	p := mixed(t)
	all, networks := services(t, p)
	for _, b := range p.Boxes {
		inside, _ := p.NetworkOf(b.Inside)
		config := networks[b.Inside].(map[string]any)["ipam"].(map[string]any)["config"].([]any)[0].(map[string]any)
		if got := config["aux_addresses"].(map[string]any)["DefaultGatewayIPv4"]; got != inside.Gateway.String() {
			t.Errorf("%s: the gateway is %v", b.Inside, got)
		}
		command := all[b.Name].(map[string]any)["command"].([]any)
		if at := slices.Index(command, any("--gateway")); at < 0 || command[at+1] != inside.Gateway.String() {
			t.Errorf("%s runs %v", b.Name, command)
		}
	}
	command := all["n5-box"].(map[string]any)["command"].([]any)
	node, _ := p.Node("n5")
	if at := slices.Index(command, any("--forward")); at < 0 || command[at+1] != node.Address.String() {
		t.Errorf("the full cone runs %v", command)
	}
}

func TestFolderOfATestnet(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "static")
	if err := os.WriteFile(binary, elfOf(t, false), 0o755); err != nil {
		t.Fatal(err)
	}
	p, folder := mixed(t), filepath.Join(dir, "net")
	if err := p.Write(folder, rand.Reader); err != nil {
		t.Fatal(err)
	}
	if err := Write(folder, p, binary, User{}, DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		File: "services:", "Dockerfile": "FROM scratch", ".dockerignore": "!amesh", ".env": "COMPOSE_PROJECT_NAME=tn", Binary: "\x7fELF",
	} {
		got, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil || !strings.Contains(string(got), want) {
			t.Errorf("%s: %v, want %q in it", name, err, want)
		}
	}
}

// What would not run in an empty image is refused before anything is built.
func TestBinariesThatNeedMore(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string][]byte{"script": []byte("#!/bin/sh\n"), "dynamic": elfOf(t, true)} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := CheckBinary(path); !errors.Is(err, ErrBinary) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := CheckBinary(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
}

func TestImageHoldsTheBinaryAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "amesh")
	if err := os.WriteFile(path, []byte("the program"), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b bytes.Buffer
	if err := writeImage(&b, f); err != nil {
		t.Fatal(err)
	}
	var files []string
	for r := tar.NewReader(&b); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			body, err := io.ReadAll(r)
			if err != nil || string(body) != "the program" || h.Mode != 0o755 {
				t.Errorf("%s: %q, mode %o, %v", h.Name, body, h.Mode, err)
			}
			files = append(files, h.Name)
		}
	}
	if !slices.Equal(files, []string{"amesh"}) {
		t.Errorf("the image holds %v", files)
	}
}

// elfOf is the smallest ELF header that says how it is linked.
func elfOf(t *testing.T, dynamic bool) []byte {
	t.Helper()
	h := make([]byte, 64+56)
	copy(h, "\x7fELF\x02\x01\x01")
	h[16], h[18], h[20] = 2, 62, 1  // executable, x86-64, version
	h[32], h[52] = 64, 64           // program headers follow
	h[54], h[56], h[58] = 56, 1, 64 // one of 56 bytes
	h[64] = 1                       // load
	if dynamic {
		h[64] = 3 // interpreter
	}
	return h
}
