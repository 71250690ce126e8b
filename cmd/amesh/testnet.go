package main

import "github.com/spf13/cobra"

func (a *app) testnetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "testnet VERB",
		Short:   "Try a mesh behind real address translators, on one machine",
		Long:    `The parts of a test network: boxes that translate addresses, block UDP, lose or delay packets.`,
		Example: "  amesh testnet natbox --kind symmetric --inside eth1 --outside eth0",
		Args:    verbs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.natboxCommand())
	return cmd
}
