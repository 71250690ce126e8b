package stage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// ErrNoDocker reports that Docker is not here, or that nobody answers.
var ErrNoDocker = errors.New("no Docker")

// patience is how long a program may take to end after it was told to.
const patience = 5 * time.Second

// docker runs a command of Docker's and returns its output without the last newline.
func docker(ctx context.Context, args ...string) (string, error) {
	return runProgram(ctx, "", append([]string{"docker"}, args...)...)
}

// composeCommand is `docker compose` where it is installed, else `docker-compose`.
func composeCommand(ctx context.Context) ([]string, error) {
	if _, err := docker(ctx, "compose", "version"); err == nil {
		return []string{"docker", "compose"}, nil
	} else if errors.Is(err, ErrNoDocker) {
		return nil, err
	}
	if _, err := exec.LookPath("docker-compose"); err != nil {
		return nil, fmt.Errorf("%w compose: neither docker compose nor docker-compose is here", ErrNoDocker)
	}
	return []string{"docker-compose"}, nil
}

// runProgram runs a program in a folder and returns what it wrote. What it complained
// about is in the error.
func runProgram(ctx context.Context, dir string, words ...string) (string, error) {
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir, cmd.WaitDelay = dir, patience
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	switch {
	case err == nil:
		return strings.TrimRight(out.String(), "\n"), nil
	case errors.Is(err, exec.ErrNotFound):
		return "", fmt.Errorf("%w: %w", ErrNoDocker, err)
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s: %w", strings.Join(words[:2], " "), context.Cause(ctx))
	}
	said := strings.TrimSpace(complaint.String())
	switch {
	case strings.Contains(said, "Cannot connect to the Docker daemon"):
		return "", fmt.Errorf("%w: its engine does not answer", ErrNoDocker)
	case strings.Contains(said, "permission denied while trying to connect to the Docker daemon"):
		return "", fmt.Errorf("%w for this user, who is not in the group docker", ErrNoDocker)
	}
	return "", fmt.Errorf("%s: %w: %s", strings.Join(words[:2], " "), err, said)
}
