package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"amesh/gateway/client"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const wantsAgent = "the agent's name, without the domain"

func (a *app) gatewayAgentCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "agent",
		Short:   "Register, list and change the agents of a gateway's domain",
		Long:    "Register, list and change the agents of a gateway's domain, over its admin API.",
		Example: "  amesh gateway agent register sales --admin-key-file admin.keys\n  amesh gateway agent list",
		Args:    verbs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.gatewayRegisterCommand(), a.gatewayUpdateCommand(), a.gatewayAgentsCommand(), a.gatewayAgentShowCommand(),
		a.gatewayRotateCommand(), a.gatewayUnregisterCommand())
	return cmd
}

// agentFlags are what is said of an agent.
type agentFlags struct {
	mode, target, role, description string
	headers, schemas, capabilities  []string
	lasts                           span
	newSecret                       bool
}

func (o *agentFlags) flags(f *pflag.FlagSet, mode string) {
	f.StringVar(&o.mode, "mode", mode, "pull: it fetches its inbox; push: its messages go to --target")
	f.StringVar(&o.target, "target", "", "`URL` to which messages are pushed")
	f.StringArrayVar(&o.headers, "header", nil, "`NAME=VALUE` sent with every push (repeatable)")
	f.StringArrayVar(&o.schemas, "schema", nil, "take only messages of schema `ID`, or of agntcy:domain.* (repeatable)")
	f.StringVar(&o.role, "role", "", "`WORD` by which it is found")
	f.StringVar(&o.description, "description", "", "`TEXT` by which people know it")
	f.StringArrayVar(&o.capabilities, "capability", nil, "`WORD` for what it can do (repeatable)")
}

func (o *agentFlags) headerMap() (map[string]string, *failure) {
	m := make(map[string]string, len(o.headers))
	for _, h := range o.headers {
		name, value, ok := strings.Cut(h, "=")
		if !ok || name == "" {
			return nil, usagef("--header %q: want NAME=VALUE", h)
		}
		m[name] = value
	}
	return m, nil
}

// check looks at what was typed, so that the common mistakes need no gateway.
func (o *agentFlags) check() *failure {
	switch {
	case o.mode != "" && o.mode != "pull" && o.mode != "push":
		return usagef("--mode %q: want pull or push", o.mode)
	case o.mode == "push" && o.target == "":
		return usagef("--mode push: want --target URL with it")
	case o.mode == "pull" && o.target != "":
		return usagef("--target: want --mode push with it")
	}
	return nil
}

func (a *app) gatewayRegisterCommand() *cobra.Command {
	var o agentFlags
	cmd := a.manage(&cobra.Command{
		Use:   "register NAME",
		Short: "Register an agent, and show its key",
		Long: `Registers an agent of the gateway's domain. Its key is shown this once: with it the
agent sends, reads its inbox and acknowledges.`,
		Example: "  amesh gateway agent register sales\n" +
			"  amesh gateway agent register orders --mode push --target https://orders.example.com/amtp\n" +
			"  amesh gateway agent register crm --schema 'agntcy:commerce.*' --role assistant --json",
		Args: oneID(wantsAgent),
	}, func(cmd *cobra.Command, c *client.Client, args []string) error {
		if f := o.check(); f != nil {
			return withUsage(cmd, f)
		}
		headers, f := o.headerMap()
		if f != nil {
			return withUsage(cmd, f)
		}
		got, err := c.Register(cmd.Context(), client.Agent{
			Address: args[0], Mode: o.mode, PushTarget: o.target, Headers: headers, Schemas: o.schemas,
			Role: o.role, Description: o.description, Capabilities: o.capabilities, KeyExpires: o.lasts.end(),
		})
		if err != nil {
			return err
		}
		return a.show(got, func(w io.Writer) { writeNewKey(w, "registered", got) })
	})
	o.flags(cmd.Flags(), "pull")
	cmd.Flags().Var(&o.lasts, "lasts", "how long the key is worth something, such as 90d (default for ever)")
	return cmd
}

func writeNewKey(w io.Writer, what string, g client.Agent) {
	fmt.Fprintf(w, "%s  %s\n", what, plain(g.Address))
	fmt.Fprintf(w, "key  %s\n", plain(g.APIKey))
	if g.PushSecret != "" {
		fmt.Fprintf(w, "push secret  %s\n", plain(g.PushSecret))
	}
	fmt.Fprintln(w, "Nobody can show the key again: keep it now.")
}

func (a *app) gatewayUpdateCommand() *cobra.Command {
	var o agentFlags
	cmd := a.manage(&cobra.Command{
		Use:     "update NAME",
		Short:   "Change what was said when an agent was registered",
		Long:    `Changes what the flags name and leaves the rest. An empty --schema= takes all away.`,
		Example: "  amesh gateway agent update orders --target https://new.example.com/amtp\n  amesh gateway agent update crm --schema=",
		Args:    oneID(wantsAgent),
	}, func(cmd *cobra.Command, c *client.Client, args []string) error {
		change, f := o.change(cmd.Flags())
		if f != nil {
			return withUsage(cmd, f)
		}
		got, err := c.ChangeAgent(cmd.Context(), args[0], change)
		if err != nil {
			return err
		}
		return a.show(got, func(w io.Writer) { writeGatewayAgent(w, got) })
	})
	o.flags(cmd.Flags(), "")
	cmd.Flags().BoolVar(&o.newSecret, "new-push-secret", false, "sign what is pushed with another secret, and show it")
	return cmd
}

// change is what the flags that were given say.
func (o *agentFlags) change(f *pflag.FlagSet) (c client.AgentChange, wrong *failure) {
	if o.mode != "" && o.mode != "pull" && o.mode != "push" {
		return c, usagef("--mode %q: want pull or push", o.mode)
	}
	headers, wrong := o.headerMap()
	if wrong != nil {
		return c, wrong
	}
	given := 0
	set := func(name string, put func()) {
		if f.Changed(name) {
			given++
			put()
		}
	}
	schemas, capabilities := nonEmpty(o.schemas), nonEmpty(o.capabilities)
	set("mode", func() { c.Mode = &o.mode })
	set("target", func() { c.PushTarget = &o.target })
	set("header", func() { c.Headers = &headers })
	set("schema", func() { c.Schemas = &schemas })
	set("role", func() { c.Role = &o.role })
	set("description", func() { c.Description = &o.description })
	set("capability", func() { c.Capabilities = &capabilities })
	set("new-push-secret", func() { c.NewSecret = o.newSecret })
	if given == 0 {
		return c, usagef("nothing to change: want a flag such as --target URL")
	}
	if c.Mode != nil && *c.Mode == "pull" && c.PushTarget == nil {
		c.PushTarget = new(string) // what pulls has no target
	}
	return c, nil
}

// nonEmpty leaves empty words out; the result is not nil.
func nonEmpty(all []string) []string {
	out := []string{}
	for _, s := range all {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

func (a *app) gatewayAgentsCommand() *cobra.Command {
	return a.manage(&cobra.Command{
		Use:     "list",
		Short:   "List the agents of a gateway's domain",
		Long:    "Lists the agents of a gateway's domain. Nobody can list their keys.",
		Example: "  amesh gateway agent list\n  amesh gateway agent list --json",
		Args:    words(0, 0, ""),
	}, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		all, err := c.Agents(cmd.Context())
		if err != nil {
			return err
		}
		return a.show(items(all), func(w io.Writer) {
			t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			for _, g := range all {
				fmt.Fprintf(t, "%s\t%s\t%s\n", plain(g.Address), plain(g.Mode), plain(g.PushTarget))
			}
			_ = t.Flush()
			if len(all) == 0 {
				fmt.Fprintln(w, "no agents")
			}
		})
	})
}

func (a *app) gatewayAgentShowCommand() *cobra.Command {
	return a.manage(&cobra.Command{
		Use:     "show NAME",
		Short:   "Show all that a gateway knows of an agent",
		Long:    "Shows all that a gateway knows of one agent, but for its key, which it does not know.",
		Example: "  amesh gateway agent show sales\n  amesh gateway agent show sales --json",
		Args:    oneID(wantsAgent),
	}, func(cmd *cobra.Command, c *client.Client, args []string) error {
		all, err := c.Agents(cmd.Context())
		if err != nil {
			return err
		}
		for _, g := range all {
			name, _, _ := strings.Cut(g.Address, "@")
			if strings.EqualFold(g.Address, args[0]) || strings.EqualFold(name, args[0]) {
				return a.show(g, func(w io.Writer) { writeGatewayAgent(w, g) })
			}
		}
		return (&failure{exit: exitNotFound, code: "agent_not_found", message: fmt.Sprintf("no agent %s", args[0])}).next("see amesh gateway agent list")
	})
}

func writeGatewayAgent(w io.Writer, g client.Agent) {
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(w, "%-12s  %s\n", name, plain(text))
		}
	}
	line("address", g.Address)
	line("push secret", g.PushSecret)
	line("mode", g.Mode)
	line("target", g.PushTarget)
	line("role", g.Role)
	line("description", g.Description)
	line("capabilities", strings.Join(g.Capabilities, ", "))
	line("schemas", strings.Join(g.Schemas, ", "))
	for name := range g.Headers {
		line("header", name) // the value is often a secret
	}
	line("registered", moment(g.Created))
	line("last access", moment(g.LastAccess))
	line("key until", moment(g.KeyExpires))
}

// moment is a time as text, or nothing for none.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func (a *app) gatewayRotateCommand() *cobra.Command {
	var lasts span
	cmd := a.manage(&cobra.Command{
		Use:     "rotate-key NAME",
		Short:   "Give an agent another key",
		Long:    "Makes another key for an agent and shows it this once. The old one is worth nothing at once.",
		Example: "  amesh gateway agent rotate-key sales",
		Args:    oneID(wantsAgent),
	}, func(cmd *cobra.Command, c *client.Client, args []string) error {
		got, err := c.RotateKey(cmd.Context(), args[0], lasts.end())
		if err != nil {
			return err
		}
		return a.show(got, func(w io.Writer) { writeNewKey(w, "rotated", got) })
	})
	cmd.Flags().Var(&lasts, "lasts", "how long the new key is worth something, such as 90d (default for ever)")
	return cmd
}

func (a *app) gatewayUnregisterCommand() *cobra.Command {
	return a.manage(&cobra.Command{
		Use:   "unregister NAME",
		Short: "Take an agent out of a gateway's domain",
		Long: `Removes an agent: its key is worth nothing from then on, messages to it are refused, and
its inbox ends, so that nobody who gets the name later reads it.`,
		Example: "  amesh gateway agent unregister sales",
		Args:    oneID(wantsAgent),
	}, func(cmd *cobra.Command, c *client.Client, args []string) error {
		if err := c.Unregister(cmd.Context(), args[0]); err != nil {
			return err
		}
		return a.show(map[string]string{"name": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "unregistered  %s\n", plain(args[0])) })
	})
}
