package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"amesh/relay/admin"
	"amesh/relay/ban"

	"github.com/spf13/cobra"
)

// operate adds a verb for the operator of a relay that runs.
func (a *app) operate(cmd *cobra.Command, run func(cmd *cobra.Command, c *admin.Client, args []string) error) *cobra.Command {
	var data string
	cmd.Flags().StringVar(&data, "data", "", "`DIR` of the relay (default relay in the home)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return run(cmd, admin.NewClient(a.relayData(data)), args)
	}
	return cmd
}

// relayData is the folder of a relay.
func (a *app) relayData(flag string) string {
	if flag == "" {
		return filepath.Join(a.home, "relay")
	}
	return flag
}

func (a *app) relayBansCommand() *cobra.Command {
	return a.operate(&cobra.Command{
		Use:     "bans",
		Short:   "List whom the relay does not want",
		Long:    "Lists the bans in force of the relay that runs on --data, the newest first.",
		Example: "  amesh relay bans\n  amesh relay bans --data /var/lib/amesh-relay --json",
		Args:    words(0, 0, ""),
	}, func(cmd *cobra.Command, c *admin.Client, _ []string) error {
		list, err := c.Bans(cmd.Context())
		if err != nil {
			return err
		}
		return a.show(items(list), func(w io.Writer) {
			for _, line := range list {
				writeBan(w, line)
			}
			if len(list) == 0 {
				fmt.Fprintln(w, "no bans")
			}
		})
	})
}

func (a *app) relayBanCommand() *cobra.Command {
	var lasts span
	var why string
	cmd := a.operate(&cobra.Command{
		Use:   "ban AMID|CIDR",
		Short: "Keep an agent or a network away",
		Long: `Closes the connections of an agent, an address or a network within a second and lets
none in any more, also after a restart. What waits for a banned agent stays until its
time is over. Without --for the ban has no end.`,
		Example: "  amesh relay ban 2wCNe4X9egd7iKnC1T9XBee63MLc --for 24h --why 'floods strangers with knocks'\n" +
			"  amesh relay ban 192.0.2.0/24",
		Args: words(1, 1, "an AMID, an address or a network"),
	}, func(cmd *cobra.Command, c *admin.Client, args []string) error {
		target, err := ban.ParseTarget(args[0])
		if err != nil {
			return usagef("%v", err).next("write it like 2wCNe4X9egd7iKnC1T9XBee63MLc, 192.0.2.7 or 2001:db8::/32")
		}
		if len(why) > ban.MaxWhy {
			return usagef("--why has %d bytes, at most %d", len(why), ban.MaxWhy)
		}
		if lasts != 0 && time.Duration(lasts) < time.Second {
			return usagef("--for %s: want a second or more", time.Duration(lasts))
		}
		line, err := c.Ban(cmd.Context(), admin.BanRequest{Target: target.String(), Seconds: int64(time.Duration(lasts) / time.Second), Why: why})
		if err != nil {
			return err
		}
		return a.show(line, func(w io.Writer) { writeBan(w, line) })
	})
	cmd.Flags().Var(&lasts, "for", "how long, such as 90s, 24h or 7d (default for good)")
	cmd.Flags().StringVar(&why, "why", "", "a note for yourself; nobody else is told")
	return cmd
}

func (a *app) relayUnbanCommand() *cobra.Command {
	return a.operate(&cobra.Command{
		Use:     "unban AMID|CIDR",
		Short:   "Let an agent or a network in again",
		Long:    `Ends a ban, which has to be named as "amesh relay bans" lists it.`,
		Example: "  amesh relay unban 192.0.2.0/24",
		Args:    words(1, 1, "an AMID, an address or a network"),
	}, func(cmd *cobra.Command, c *admin.Client, args []string) error {
		target, err := ban.ParseTarget(args[0])
		if err != nil {
			return usagef("%v", err).next("see amesh relay bans")
		}
		there, err := c.Unban(cmd.Context(), target.String())
		if err != nil {
			return err
		}
		if !there {
			return (&failure{exit: exitNotFound, code: "not_found", message: fmt.Sprintf("%s is not banned", target)}).next("see amesh relay bans")
		}
		return a.show(admin.Removed{Removed: true}, func(w io.Writer) { fmt.Fprintf(w, "%s may come again\n", target) })
	})
}

func writeBan(w io.Writer, line ban.Line) {
	until := "for good"
	if line.Until != nil {
		until = "until " + line.Until.Format(time.RFC3339)
	}
	fmt.Fprintf(w, "%s  since %s, %s%s\n", line.Target, line.Since.Format(time.RFC3339), until, inBrackets(line.Why))
}

func (a *app) relayDrainCommand() *cobra.Command {
	within := span(30 * time.Second)
	cmd := a.operate(&cobra.Command{
		Use:   "drain",
		Short: "End the relay when it is quiet",
		Long: `Lets no connection in any more, makes /readyz answer 503, and tells the agents that
can understand it. When nothing was said for two seconds, nobody is connected, or
--within is over, the relay closes what is left and ends with exit code 0. Mail stays.`,
		Example: "  amesh relay drain\n  amesh relay drain --within 5m --data /var/lib/amesh-relay",
		Args:    words(0, 0, ""),
	}, func(cmd *cobra.Command, c *admin.Client, _ []string) error {
		if within < 0 || time.Duration(within) > 24*time.Hour {
			return usagef("--within %s: at most a day", time.Duration(within))
		}
		left, err := c.Drain(cmd.Context(), time.Duration(within))
		if err != nil {
			return err
		}
		return a.show(admin.Drained{Left: left}, func(w io.Writer) {
			fmt.Fprintf(w, "the relay ends; %s still connected\n", wereLeft(left))
		})
	})
	cmd.Flags().Var(&within, "within", "how long it may take")
	return cmd
}

func wereLeft(n int) string {
	if n == 1 {
		return "1 agent was"
	}
	return fmt.Sprintf("%d agents were", n)
}

// openDoor opens the operator's door, where the system lets it.
func (p *relayParts) openDoor(data string, exit func()) error {
	l, err := admin.Listen(data)
	if err != nil {
		// The relay is good for its agents without it.
		p.tell(fmt.Sprintf("no door for amesh relay top, ban and drain: %v", err))
		return nil
	}
	p.opened = append(p.opened, l)
	door, err := admin.New(admin.Config{Relay: p.server, Exit: exit, Logger: p.log})
	if err != nil {
		return err
	}
	p.services = append(p.services, func(ctx context.Context) error { return door.Serve(ctx, l) })
	return nil
}

// relayVerbs are what an operator does with a relay that runs.
func (a *app) relayVerbs() []*cobra.Command {
	return []*cobra.Command{a.relayTopCommand(), a.relayBanCommand(), a.relayUnbanCommand(), a.relayBansCommand(), a.relayDrainCommand()}
}
