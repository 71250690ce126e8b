package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"amesh/node/api"

	"github.com/spf13/cobra"
)

// testnetPipeCommand is for the other side of `docker exec`, not for people.
func (a *app) testnetPipeCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "pipe",
		Short:   "Carry standard input and output to the node's socket",
		Long:    `Connects standard input and output with the API of the node that runs on --home.`,
		Hidden:  true,
		Example: "  amesh testnet pipe",
		Args:    words(0, 0, ""),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.pipe(cmd.Context()) },
	}
}

// pipe ends when either side does.
func (a *app) pipe(ctx context.Context) error {
	cfg, err := api.Discover(a.home)
	if err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", cfg.Socket)
	if err != nil {
		return fmt.Errorf("pipe: %w", err)
	}
	defer conn.Close()
	done := make(chan error, 2)
	carry := func(to io.Writer, from io.Reader) {
		_, err := io.Copy(to, from)
		done <- err
	}
	go carry(conn, a.in)
	go carry(a.out, conn)
	select {
	case err = <-done:
	case <-ctx.Done():
	}
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("pipe: %w", err)
	}
	return nil
}
