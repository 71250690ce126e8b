package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this program",
		Long:    "Prints the version of this program, the Go it was made with, and its platform.",
		Example: "  amesh version --json",
		Args:    words(0, 0, ""),
		RunE:    func(*cobra.Command, []string) error { return a.showVersion() },
	}
}

func (a *app) showVersion() error {
	data := struct {
		Version string `json:"version"`
		Go      string `json:"go"`
		OS      string `json:"os"`
		Arch    string `json:"arch"`
	}{version, runtime.Version(), runtime.GOOS, runtime.GOARCH}
	return a.show(data, func(w io.Writer) {
		fmt.Fprintf(w, "amesh %s (%s, %s/%s)\n", data.Version, data.Go, data.OS, data.Arch)
	})
}
