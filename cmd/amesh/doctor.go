package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"amesh/internal/proxy"
	"amesh/node"
	"amesh/node/api"

	"github.com/spf13/cobra"
)

// anyConfig marks the verbs that run although config.yaml is wrong, and say so.
const anyConfig = "any-config"

func (a *app) doctorCommand() *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look over the home, the machine and the node, and say what to do",
		Long: `Looks at the home (permissions, disk, keys, state, policy, backup), at config.yaml, at the
machine (clock, open files, UDP buffers), and at the running node: its relays, the
DHT, registries, keys, queue and knocks. It changes nothing. Without a running node it
looks at what there is, and whether the relays of the configuration answer.

A check fails when something does not work, and warns when it works, but not as it
should. The exit code is 10 when a check failed, with --strict also when one warned.`,
		Example:     "  amesh doctor\n  amesh doctor --strict --json",
		Annotations: map[string]string{anyConfig: ""},
		Args:        words(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := a.examine(cmd.Context())
			if err != nil {
				return err
			}
			worst := d.Worst()
			bad := worst == api.CheckFail || strict && worst == api.CheckWarn
			if !bad {
				return a.show(d, func(w io.Writer) { writeDoctor(w, d) })
			}
			if !a.json {
				writeDoctor(a.out, d)
			}
			return &failure{exit: exitDegraded, code: "degraded", message: troubles(d, strict), data: d}
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "exit 10 also when a check warned")
	return cmd
}

// examine asks the node to look at itself, and looks itself where none runs.
func (a *app) examine(ctx context.Context) (api.Doctor, error) {
	fmt.Fprintln(a.err, "looking at the home, the machine and the servers …")
	var p *api.Problem
	n, err := a.node()
	d := api.Doctor{At: time.Now(), Version: version, Home: a.home}
	if err == nil {
		var theirs api.Doctor
		if theirs, err = n.Doctor(ctx); err == nil {
			d = theirs
		}
	}
	switch {
	case err == nil:
		d.Checks = append([]api.Check{daemonCheck(d.Version), a.configCheck()}, d.Checks...)
	case errors.As(err, &p) && p.Code == api.CodeUnreachable:
		d.Checks = append([]api.Check{noDaemon(p), a.configCheck()}, node.Examine(ctx, a.home, a.servers())...)
	default:
		return d, err
	}
	return d, ctx.Err()
}

func daemonCheck(theirs string) api.Check {
	c := api.Check{Name: "daemon", State: api.CheckOK, Text: "runs, version " + theirs}
	if theirs != version {
		c.State, c.Next = api.CheckWarn, "start the node again"
		c.Text = fmt.Sprintf("the node is of version %s, this program of %s", theirs, version)
	}
	return c
}

func noDaemon(p *api.Problem) api.Check {
	return api.Check{Name: "daemon", State: api.CheckFail, Text: p.Error(), Next: p.Hint}
}

func (a *app) configCheck() api.Check {
	c := api.Check{Name: "config", State: api.CheckOK, Text: configFile + " is understood, or there is none"}
	if _, err := readConfig(filepath.Join(a.home, configFile)); err != nil {
		f := explain(err)
		c.State, c.Text, c.Next = api.CheckFail, f.message, "mend "+filepath.Join(a.home, configFile)
		if f.hint != "" {
			c.Next = f.hint
		}
	}
	return c
}

// servers are those that "amesh up" would be told, and the way to them. A proxy that is
// wrong is the configuration's trouble, and is left out.
func (a *app) servers() node.Servers {
	way, err := proxy.New(proxy.Config{Setting: a.configuredOne("proxy"), Credentials: a.configuredOne("proxy_credentials"), Getenv: a.getenv})
	if err != nil {
		way = nil
	}
	return node.Servers{Relays: a.configured("relay"), Registries: a.configured("registry"), STUN: a.configured("stun"), Proxy: way}
}

func (a *app) configuredOne(key string) string {
	if list := a.configured(key); len(list) > 0 {
		return list[0]
	}
	return ""
}

// configured is what "amesh up" would be told of a list: by the environment, or by
// config.yaml.
func (a *app) configured(key string) []string {
	if text := a.getenv("AMESH_" + strings.ToUpper(key)); text != "" {
		return splitList(text)
	}
	given, err := readConfig(filepath.Join(a.home, configFile))
	if err != nil {
		return nil
	}
	return given[key]
}

func writeDoctor(w io.Writer, d api.Doctor) {
	for _, c := range d.Checks {
		fmt.Fprintf(w, "%-4s  %-13s  %s\n", plain(string(c.State)), plain(c.Name), plain(c.Text))
		if c.Next != "" {
			fmt.Fprintf(w, "%21snext: %s\n", "", plain(c.Next))
		}
	}
}

// troubles are the names of what failed, or with strict also of what warned.
func troubles(d api.Doctor, strict bool) string {
	var names []string
	for _, c := range d.Checks {
		if c.State == api.CheckFail || strict && c.State == api.CheckWarn {
			names = append(names, c.Name)
		}
	}
	return "not well: " + strings.Join(names, ", ")
}
