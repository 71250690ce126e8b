package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"amesh/identity"
	"amesh/testnet/report"
	"amesh/testnet/scenario"

	"github.com/spf13/cobra"
)

// runFile is where the last run of a testnet is kept, in its folder.
const runFile = "run.json"

// reportName is the page that report writes without --out.
const reportName = "testnet-report.html"

func (a *app) testnetReportCommand() *cobra.Command {
	var dir, out string
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Write the last run of a testnet as a page",
		Long: `Writes the last run of the testnet of a folder as one HTML page, which needs nothing
from elsewhere and no script: the scenarios with their counts, a picture of the mesh in the
colours of its paths, and why each path is what it is. With --json the run is printed.`,
		Example: "  amesh testnet report\n  amesh testnet report --out /tmp/report.html\n  amesh testnet report --json",
		Args:    words(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, dir, err := readTestnet(dir)
			if err != nil {
				return testnetFailure(err)
			}
			run, err := readRun(dir)
			if err != nil {
				return err
			}
			if a.json && out == "" {
				return a.show(run, nil)
			}
			if out == "" {
				out = reportName
			}
			if err := writeReport(out, run); err != nil {
				return err
			}
			return a.show(written{out}, func(w io.Writer) { fmt.Fprintf(w, "wrote %s\n", out) })
		},
	}
	dirFlag(cmd, &dir)
	cmd.Flags().StringVar(&out, "out", "", "`FILE` to write (default "+reportName+")")
	return cmd
}

type written struct {
	File string `json:"file"`
}

// keepRun keeps a run in the folder of its testnet.
func keepRun(dir string, run scenario.Run) error {
	record, err := json.Marshal(run)
	if err != nil {
		return fmt.Errorf("keep the run: %w", err)
	}
	if err := identity.ReplaceFile(filepath.Join(dir, runFile), append(record, '\n')); err != nil {
		return fmt.Errorf("keep the run: %w", err)
	}
	return nil
}

func readRun(dir string) (run scenario.Run, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, runFile))
	if errors.Is(err, fs.ErrNotExist) {
		return run, &failure{exit: exitNotFound, code: "no_run", message: "nothing was run here yet: no " + runFile + " in " + dir, hint: "amesh testnet run smoke"}
	}
	if err == nil {
		err = json.Unmarshal(raw, &run)
	}
	if err != nil {
		return run, fmt.Errorf("read the last run: %w", err)
	}
	return run, nil
}

// writeReport writes the page of a run.
func writeReport(path string, run scenario.Run) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return errors.Join(report.Write(f, version, run), f.Close())
}
