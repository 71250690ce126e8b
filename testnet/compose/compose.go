// Package compose writes what `docker compose` and `docker-compose` need to run a
// testnet: a compose file, a Dockerfile that begins with nothing, and a copy of the static
// binary. No image is pulled: what is in a container is amesh and nothing else, and NAT
// boxes, health checks and faults are verbs of it.
//
// The files need no feature that docker-compose 1.29 lacks, nor a tool of ours to be used:
// `docker compose up -d` in the folder starts the testnet.
package compose

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	_ "embed"

	"amesh/testnet/plan"
)

// File is the compose file in the folder of a testnet, Binary the executable that goes
// into the image.
const (
	File   = "compose.yaml"
	Binary = "amesh"
)

// Home is where a container finds the home of its relay or node.
const Home = "/home/amesh"

// Limits is what each container may use. The sum for six nodes fits a laptop.
type Limits struct {
	NodeMemory  int // MiB; a node needs some 60, and more while it works
	RelayMemory int // MiB
	BoxMemory   int // MiB
	Processes   int // threads, of each container
}

// DefaultLimits bounds six nodes, two relays and six boxes to less than 2 GiB.
func DefaultLimits() Limits {
	return Limits{NodeMemory: 160, RelayMemory: 192, BoxMemory: 64, Processes: 256}
}

// User is who the containers run as, so that what they write belongs to whoever made the
// folder.
type User struct{ UID, GID int }

//go:embed compose.yaml.tmpl
var composeText string

const dockerfile = `# Nothing but the static binary: no image is pulled.
FROM scratch
COPY amesh /amesh
WORKDIR /home/amesh
WORKDIR /
ENTRYPOINT ["/amesh"]
`

// ignore keeps homes, and the keys in them, out of what the builder is sent.
const ignore = "*\n!amesh\n"

// Write puts the files into the folder of the testnet p. binary is the executable that
// goes into the image; it is linked, or copied where that is not possible.
func Write(dir string, p *plan.Plan, binary string, u User, l Limits) error {
	if err := CheckBinary(binary); err != nil {
		return err
	}
	text, err := Render(p, u, l)
	if err != nil {
		return err
	}
	for name, content := range map[string]string{
		File: text, "Dockerfile": dockerfile, ".dockerignore": ignore,
		".env": "COMPOSE_PROJECT_NAME=" + p.Name + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return fmt.Errorf("testnet: %w", err)
		}
	}
	if err := place(binary, filepath.Join(dir, Binary)); err != nil {
		return fmt.Errorf("testnet: copy the binary: %w", err)
	}
	return nil
}

// Container is the name of a container.
func Container(p *plan.Plan, name string) string { return p.Name + "-" + name }

// Image is the name of the image that all of them have.
func Image(p *plan.Plan) string { return p.Name + "-amesh" }

// Network is Docker's name of a network.
func Network(p *plan.Plan, name string) string { return p.Name + "-" + name }

// Render is the text of the compose file.
func Render(p *plan.Plan, u User, l Limits) (string, error) {
	t, err := template.New(File).Funcs(template.FuncMap{
		"container": func(name string) string { return Container(p, name) },
		"network":   func(name string) string { return Network(p, name) },
		"words":     words,
		"relayArgs": p.RelayArgs,
		"nodeArgs":  p.NodeArgs,
		"boxArgs":   func(b plan.Box) []string { return boxArgs(p, b) },
		"inside": func(b plan.Box) (plan.Network, error) {
			n, ok := p.NetworkOf(b.Inside)
			if !ok {
				return n, fmt.Errorf("box %s: no network %s", b.Name, b.Inside)
			}
			return n, nil
		},
		"heap": func(memory int) int { return memory * 3 / 4 },
	}).Parse(composeText)
	if err != nil {
		return "", fmt.Errorf("compose file: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, map[string]any{"Plan": p, "User": u, "Limits": l, "Home": Home, "Image": Image(p)}); err != nil {
		return "", fmt.Errorf("compose file: %w", err)
	}
	return b.String(), nil
}

// words is a list of YAML strings. No word of a testnet has a character that needs more
// than quotes.
func words(list []string) string {
	quoted := make([]string, len(list))
	for i, w := range list {
		quoted[i] = `"` + w + `"`
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// boxArgs is what a box is started with.
func boxArgs(p *plan.Plan, b plan.Box) []string {
	inside, _ := p.NetworkOf(b.Inside)
	outside := p.Public
	if n, ok := p.NetworkOf(b.Outside); ok {
		outside = n.Prefix
	}
	args := []string{"testnet", "box", "--kind", string(b.Kind), "--inside", inside.Prefix.String(),
		"--outside", outside.String(), "--gateway", inside.Gateway.String(), "--control", ControlSocket}
	if b.Kind == plan.FullCone {
		n, _ := p.Node(b.Node)
		args = append(args, "--forward", n.Address.String())
	}
	return args
}

// ControlSocket is where a box takes orders, in its container.
const ControlSocket = "/run/box.sock"

// CheckBinary refuses with ErrBinary what would not run in an empty image, before anything is built.
func CheckBinary(path string) error {
	f, err := elf.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("testnet: %w", err)
	}
	if err != nil {
		return fmt.Errorf("%w: %s is no Linux executable", ErrBinary, path)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%w: %s is linked dynamically", ErrBinary, path)
		}
	}
	return nil
}

// ErrBinary reports an executable that cannot run in an empty image.
var ErrBinary = errors.New("not a static Linux binary")

// place links or copies the executable.
func place(from, to string) error {
	if err := os.Link(from, to); err == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
