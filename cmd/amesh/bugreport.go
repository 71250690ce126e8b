package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"amesh/node"
	"amesh/node/api"

	"github.com/spf13/cobra"
)

// writtenReport is the data of bugreport.
type writtenReport struct {
	File     string   `json:"file"`
	Size     int      `json:"size"`
	Sections []string `json:"sections"`
	Replaced int      `json:"replaced"`
	Names    bool     `json:"names"`
	Daemon   bool     `json:"daemon"`
}

func (a *app) bugreportCommand() *cobra.Command {
	var out string
	var names bool
	cmd := &cobra.Command{
		Use:   "bugreport",
		Short: "Write a file for whoever looks for a fault, without secrets",
		Long: `Writes version, configuration, status, policy, netcheck, doctor, the last lines of the
node's log and what its goroutines do to a new file that only you can read. Nothing is
sent anywhere. Keys, tokens, passwords, invites and messages are not in it; agents, nodes,
names and IP addresses stand as pseudonyms such as peer-1 and ip-2, unless --names leaves
them as they are. Names of relays and registries are in it. Look through it before you
hand it over. Without a running node it has no status, policy, log and goroutines.`,
		Example:     "  amesh bugreport\n  amesh bugreport --out report.txt --names",
		Annotations: map[string]string{anyConfig: ""},
		Args:        words(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				out = "amesh-bugreport-" + time.Now().UTC().Format("20060102-150405") + ".txt"
			}
			file, err := filepath.Abs(out)
			if err != nil {
				return err
			}
			if _, err := os.Lstat(file); err == nil {
				return (&failure{exit: exitConflict, code: "exists", message: file + " exists"}).next("name a new file with --out")
			}
			r, err := a.makeReport(cmd.Context(), names)
			if err != nil {
				return err
			}
			if err := writeNew(file, r.Text); err != nil {
				return err
			}
			w := writtenReport{File: file, Size: len(r.Text), Sections: r.Sections, Replaced: r.Replaced, Names: names, Daemon: r.Daemon}
			return a.show(w, func(out io.Writer) { sayWritten(out, w) })
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write to `FILE` (default amesh-bugreport-TIME.txt here)")
	cmd.Flags().BoolVar(&names, "names", false, "leave agents, nodes, names and IP addresses as they are")
	return cmd
}

// makeReport asks the node for one, and makes one itself where none runs.
func (a *app) makeReport(ctx context.Context, names bool) (api.Bugreport, error) {
	fmt.Fprintln(a.err, "looking at the home, the node and the network …")
	var r api.Bugreport
	n, err := a.node()
	if err == nil {
		r, err = n.Bugreport(ctx, api.BugreportRequest{Names: names})
	}
	if p, ok := errors.AsType[*api.Problem](err); !ok || p.Code != api.CodeUnreachable {
		return r, err
	}
	told, err := readConfig(filepath.Join(a.home, configFile))
	if err != nil { // the doctor's part says the same
		told = nil
	}
	return node.ReportWithout(ctx, a.home, version, told, a.servers(), names)
}

// writeNew writes a file that was not there and that only its owner can read.
func writeNew(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write report: %w", err), os.Remove(file))
	}
	return nil
}

func sayWritten(w io.Writer, r writtenReport) {
	fmt.Fprintf(w, "wrote    %s, %d KiB, readable by you only\n", plain(r.File), (r.Size+1023)/1024)
	fmt.Fprintf(w, "has      %s\n", plain(strings.Join(r.Sections, ", ")))
	fmt.Fprintln(w, "has not  keys, tokens, passwords, invites, messages")
	if r.Names {
		fmt.Fprintln(w, "names    agents, nodes, names and IP addresses stand as they are")
	} else {
		fmt.Fprintf(w, "names    %d agents, nodes, names and IP addresses stand as pseudonyms\n", r.Replaced)
	}
	fmt.Fprintln(w, "nothing was sent; look through it before you hand it over")
}
