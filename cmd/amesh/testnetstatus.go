package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"amesh/testnet/report"
	"amesh/testnet/scenario"
	"amesh/testnet/stage"

	"github.com/spf13/cobra"
)

func (a *app) testnetStatusCommand() *cobra.Command {
	return a.dockerVerb(&cobra.Command{
		Use:   "status",
		Short: "Show every node of a testnet, and how it reaches the others",
		Long: `Shows for every node what is in front of it, which relays it is connected to, how many
messages wait in it, and by which path it reaches every other node: direct, punched,
relayed, or none when there was nothing to say yet. A node that does not answer is down.`,
		Example: "  amesh testnet status\n  amesh testnet status --json",
		Args:    words(0, 0, ""),
	}, func(cmd *cobra.Command, on *stage.Docker, _ string, _ []string) error {
		if err := on.Check(cmd.Context()); err != nil {
			return err
		}
		picture := scenario.Look(cmd.Context(), on)
		if err := cmd.Context().Err(); err != nil {
			return err
		}
		return a.show(picture, func(w io.Writer) { writePicture(w, picture) })
	})
}

// writePicture writes a row for every node, with a column for every other.
func writePicture(out io.Writer, p scenario.Picture) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "NODE\tNAT\tRELAYS\tQUEUE")
	for _, n := range p.Nodes {
		fmt.Fprintf(w, "\tTO %s", strings.ToUpper(n.Name))
	}
	fmt.Fprintln(w)
	to := make(map[[2]string]scenario.Path)
	for _, path := range p.Paths {
		to[[2]string{path.From, path.To}] = path
	}
	for _, n := range p.Nodes {
		relays := strings.Join(n.Relays, ",")
		if n.Down {
			relays = "down"
		} else if relays == "" {
			relays = "none"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d", n.Name, n.Kind, plain(relays), n.Queued)
		for _, other := range p.Nodes {
			words := "–"
			if other.Name != n.Name {
				words = report.Words(to[[2]string{n.Name, other.Name}])
			}
			fmt.Fprintf(w, "\t%s", words)
		}
		fmt.Fprintln(w)
	}
	w.Flush() // whether it can be written is known by now
}
