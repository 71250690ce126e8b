package compose

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"amesh/testnet/plan"
)

// importPatience is how long Docker may take to end after it was told to.
const importPatience = 5 * time.Second

// Import makes the image of a testnet without any builder: what the Dockerfile says, as a
// tar file that Docker takes as it is.
func Import(ctx context.Context, dir string, p *plan.Plan) error {
	f, err := os.Open(filepath.Join(dir, Binary))
	if err != nil {
		return fmt.Errorf("testnet: %w", err)
	}
	defer f.Close()
	r, w := io.Pipe()
	go func() { w.CloseWithError(writeImage(w, f)) }()
	cmd := exec.CommandContext(ctx, "docker", "import", "--change", `ENTRYPOINT ["/amesh"]`, "-", Image(p))
	cmd.Stdin, cmd.WaitDelay = r, importPatience
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	err = cmd.Run()
	r.Close()
	if err != nil {
		return fmt.Errorf("docker import: %w: %s", err, strings.TrimSpace(complaint.String()))
	}
	return nil
}

// writeImage writes the tar file of an image with nothing but the executable. The two
// folders are there because the root is read-only when it runs.
func writeImage(w io.Writer, executable *os.File) error {
	info, err := executable.Stat()
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	for _, dir := range []string{"home/amesh/", "run/"} {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}); err != nil {
			return err
		}
	}
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: Binary, Mode: 0o755, Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(t, executable)
	return errors.Join(err, t.Close())
}
