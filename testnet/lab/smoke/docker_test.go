// Package smoke_test runs testnets in Docker and in network namespaces, by the verbs that a
// person would type.
package smoke_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"amesh/testnet/scenario"
)

// needsDocker skips a test where nobody said that there is Docker.
func needsDocker(t *testing.T) {
	t.Helper()
	if os.Getenv("AMESH_WITH_DOCKER") == "" {
		t.Skip("SKIP: set AMESH_WITH_DOCKER=1 where Docker's engine and docker compose or docker-compose run")
	}
}

// lab is a testnet with a name of its own. Nothing of it is left after the test.
type lab struct {
	t                 *testing.T
	binary, dir, name string
}

func open(t *testing.T, name string, args ...string) *lab {
	t.Helper()
	dir := t.TempDir()
	l := &lab{t: t, binary: filepath.Join(dir, "amesh"), dir: filepath.Join(dir, "net"), name: fmt.Sprintf("amesh-%s-%d", name, os.Getpid())}
	build(t, l.binary)
	l.amesh("init", append([]string{"--name", l.name}, args...)...)
	t.Cleanup(func() {
		l.amesh("down", "--remove")
		for _, what := range []string{"container ls --all", "network ls", "image ls"} {
			if left := l.docker(append(strings.Fields(what), "--quiet", "--filter", filter(what)+l.name+"*")...); left != "" {
				t.Errorf("docker %s: %s is left", what, left)
			}
		}
		if _, err := os.Stat(l.dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the folder is left: %v", err)
		}
	})
	return l
}

// filter is how Docker is asked for things by name.
func filter(what string) string {
	if strings.HasPrefix(what, "image") {
		return "reference="
	}
	return "name="
}

// try runs a verb of the testnet.
func (l *lab) try(verb string, args ...string) (string, error) {
	cmd := exec.Command(l.binary, append([]string{"testnet", verb, "--dir", l.dir}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (l *lab) amesh(verb string, args ...string) string {
	l.t.Helper()
	out, err := l.try(verb, args...)
	if err != nil {
		l.t.Fatalf("amesh testnet %s %s: %v\n%s", verb, strings.Join(args, " "), err, out)
	}
	return out
}

func (l *lab) docker(args ...string) string {
	l.t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// smoke runs the scenarios, and checks what they come to and the page about them.
func (l *lab) smoke() scenario.Run {
	l.t.Helper()
	return smoke(l.t, l.binary, "--dir", l.dir)
}

// Six nodes behind boxes of every kind and two relays; nothing is lost whatever dies, and
// faults do what they say.
func TestWithDockerSixNodesBehindBoxes(t *testing.T) {
	needsDocker(t)
	l := open(t, "mixed", "--nodes", "6", "--relays", "2", "--nat", "mixed")
	l.amesh("up")
	run := l.smoke()
	for _, n := range run.Picture.Nodes {
		if n.Down || len(n.Relays) != 2 {
			t.Errorf("%s at the end: %+v", n.Name, n)
		}
	}
	l.rights()
	l.faults()
}

// rights checks that boxes may change their network, and nobody else may do anything.
func (l *lab) rights() {
	l.t.Helper()
	names := strings.Fields(l.docker("container", "ls", "--filter", "name="+l.name, "--format", "{{.Names}}"))
	if len(names) != 2+6+6 {
		l.t.Errorf("%d containers run: %v", len(names), names)
	}
	for _, name := range names {
		got := l.docker("inspect", "--format", "{{.HostConfig.CapAdd}} {{.HostConfig.CapDrop}} {{.HostConfig.Privileged}} {{len .HostConfig.PortBindings}}", name)
		want := "[] [ALL] false 0"
		if strings.HasSuffix(name, "box") || strings.HasSuffix(name, "inner") || strings.HasSuffix(name, "outer") {
			want = "[NET_ADMIN MKNOD] [ALL] false 0"
		}
		if got != want && got != strings.NewReplacer("NET_ADMIN MKNOD", "CAP_MKNOD CAP_NET_ADMIN").Replace(want) {
			l.t.Errorf("%s may %s, want %s", name, got, want)
		}
	}
}

// faults spoils, heals, kills and starts, and looks at what comes of it.
func (l *lab) faults() {
	l.t.Helper()
	l.amesh("fault", "n2", "--loss", "20", "--delay", "30ms")
	l.amesh("fault", "n2", "--heal")
	if out, err := l.try("fault", "n1", "--loss", "20"); err == nil || !strings.Contains(out, "no box is in front of it") {
		l.t.Errorf("loss without a box: %v\n%s", err, out)
	}
	if out, err := l.try("fault", "n9", "--kill"); err == nil || !strings.Contains(out, "there are r1, r2, n1") {
		l.t.Errorf("a node that there is not: %v\n%s", err, out)
	}
	l.amesh("fault", "n3", "--kill")
	if out := l.amesh("status"); !strings.Contains(out, "symmetric        down") {
		l.t.Errorf("status does not say that n3 is down:\n%s", out)
	}
	l.amesh("fault", "n3", "--start")
	l.amesh("fault", "n6", "--partition", "1s")
	if out := l.amesh("exec", "n6", "id"); !strings.Contains(out, "peer") {
		l.t.Errorf("exec says:\n%s", out)
	}
}

// The files work for whoever has only Docker: compose builds the image from nothing and
// starts it.
func TestWithDockerComposeAlone(t *testing.T) {
	needsDocker(t)
	for _, command := range [][]string{{"docker", "compose"}, {"docker-compose"}} {
		if exec.Command(command[0], append(command[1:], "version")...).Run() != nil {
			t.Logf("%s is not here", strings.Join(command, " "))
			continue
		}
		l := open(t, strings.Join(command, ""), "--nodes", "2", "--relays", "1", "--nat", "none")
		up := exec.Command(command[0], append(command[1:], "up", "-d")...)
		up.Dir = l.dir
		if out, err := up.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", up, err, out)
		}
		if out := l.docker("image", "inspect", "--format", "{{len .RootFS.Layers}}", l.name+"-amesh"); out == "0" {
			t.Errorf("the image has %s layers", out)
		}
		l.smoke()
		l.amesh("down")
	}
}
