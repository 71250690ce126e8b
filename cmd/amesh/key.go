package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"amesh/identity"
	"amesh/node/api"

	"github.com/spf13/cobra"
)

func (a *app) keyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key [show|rotate|revoke] [AGENT]",
		Short: "Show, renew or give up an agent's keys",
		Long: `An agent has a signing key, which is its identity, and exchange keys, with which others
start sessions and which the node renews by itself every week.`,
		Example: "  amesh key\n  amesh key rotate\n  amesh key revoke --reason compromised --yes",
		Args:    verbs,
		RunE:    a.showKeys,
	}
	show := &cobra.Command{
		Use:     "show [AGENT]",
		Short:   "Show fingerprints and age of the keys",
		Long:    "Shows the fingerprints of an agent's public keys, and how old the exchange keys are.",
		Example: "  amesh key show\n  amesh key show travel-bot --json",
		Args:    words(0, 1, "the agent's name"),
		RunE:    a.showKeys,
	}
	rotate := &cobra.Command{
		Use:   "rotate [AGENT]",
		Short: "Make new exchange keys now",
		Long: `Makes new exchange keys and publishes them. Whoever has the old ones can still knock
with them until they expire; sessions go on. The agent stays who it is.`,
		Example: "  amesh key rotate",
		Args:    words(0, 1, "the agent's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(func(n api.Backend) error {
				k, err := n.RotateKeys(cmd.Context(), a.named(args))
				if err != nil {
					return err
				}
				return a.show(k, func(w io.Writer) { writeKeys(w, k) })
			})
		},
	}
	cmd.AddCommand(show, rotate, a.revokeCommand())
	return cmd
}

// named is the agent that a verb is about: the one in its arguments, else --agent.
func (a *app) named(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return a.agent
}

func (a *app) showKeys(cmd *cobra.Command, args []string) error {
	return a.ask(func(n api.Backend) error {
		k, err := n.Keys(cmd.Context(), a.named(args))
		if err != nil {
			return err
		}
		return a.show(k, func(w io.Writer) { writeKeys(w, k) })
	})
}

func writeKeys(w io.Writer, k api.Keys) {
	fmt.Fprintf(w, "agent     %s  %s\n", plain(k.Agent), k.AMID)
	fmt.Fprintf(w, "signing   SHA-256 %s\n", plain(k.Fingerprint))
	fmt.Fprintf(w, "exchange  SHA-256 %s\n", plain(k.ExchangeFingerprint))
	fmt.Fprintf(w, "bundle    %s, number %d of epoch %d\n", plain(k.BundleID), k.Sequence, k.Epoch)
	fmt.Fprintf(w, "made      %s ago, in use until %s\n", since(k.Created), k.Expires.UTC().Format(time.RFC3339))
	fmt.Fprintf(w, "kept      %s of exchange keys\n", count(k.Sets, "set"))
	if k.Revoked != nil {
		fmt.Fprintf(w, "revoked   %s\n", farewell(*k.Revoked))
	}
}

// farewell is a revocation in words.
func farewell(v api.Revocation) string {
	s := plain(v.Reason) + " since " + v.Issued.UTC().Format(time.RFC3339)
	if v.Successor != nil {
		s += ", names " + v.Successor.String() + " as its successor"
	}
	return s
}

func (a *app) revokeCommand() *cobra.Command {
	var reason, successor string
	var yes bool
	cmd := &cobra.Command{
		Use:   "revoke [AGENT]",
		Short: "Give up an agent's signing key for ever",
		Long: `Signs the statement that the agent's signing key leaves, and tells every peer with a
session. From then on the agent neither sends nor receives, and whoever has heard of
it refuses the key. This cannot be taken back: the agent's AMID is gone for good.

Reasons: superseded (another key takes its place), compromised (somebody else may
have it), retired. With --successor, the home or the identity file of the agent that
takes its place, that one signs as well and is named. Nothing moves to it by itself:
who stole the key could name one too, so every peer's owner decides anew.`,
		Example: "  amesh key revoke --reason retired --yes\n" +
			"  amesh key revoke travel-bot --reason superseded --successor ~/new-home --yes",
		Args: words(0, 1, "the agent's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			why, err := identity.ParseRevocationReason(reason)
			if err != nil {
				return withUsage(cmd, usagef("--reason %q: want superseded, compromised or retired", reason))
			}
			if !yes {
				return withUsage(cmd, usagef("this cannot be taken back: the agent's AMID is gone for good").
					next("add --yes to do it"))
			}
			return a.ask(func(n api.Backend) error {
				return a.revoke(cmd.Context(), n, a.named(args), why, successor)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&reason, "reason", "", "superseded, compromised or retired")
	f.StringVar(&successor, "successor", "", "home or identity file of the agent that takes its place")
	f.BoolVar(&yes, "yes", false, "really do it")
	return cmd
}

func (a *app) revoke(ctx context.Context, n api.Backend, agent string, why identity.RevocationReason, successor string) error {
	r := api.RevokeRequest{Reason: why.String()}
	if successor != "" {
		if err := consent(ctx, n, agent, why, successor, &r); err != nil {
			return err
		}
	}
	v, err := n.Revoke(ctx, agent, r)
	if err != nil {
		return err
	}
	return a.show(v, func(w io.Writer) {
		fmt.Fprintf(w, "%s  %s\n", v.AMID, farewell(v))
		fmt.Fprintln(w, "peers with a session are told by themselves as long as the node runs; tell others yourself")
	})
}

// consent has the successor sign what the leaving key is about to say. Its private key
// is read here and never goes to the node.
func consent(ctx context.Context, n api.Backend, agent string, why identity.RevocationReason, path string, r *api.RevokeRequest) error {
	heir, err := loadSuccessor(path)
	if err != nil {
		return err
	}
	keys, err := n.Keys(ctx, agent)
	if err != nil {
		return err
	}
	leaving, err := identity.ParsePublicKeyText(keys.SigningKey)
	if err != nil {
		return fmt.Errorf("the node's answer: %w", err)
	}
	issued := time.Now().UTC().Truncate(time.Second)
	r.Consent, err = identity.SignSuccessor(heir.Key, identity.Revocation{SigningKey: leaving, Issued: issued, Reason: why})
	if err != nil {
		return usagef("--successor %s: %v", path, err).next("name another agent than the one whose key leaves")
	}
	r.Issued, r.Successor = &issued, heir.Key.Public().Text()
	return nil
}

// loadSuccessor reads an identity file, or the one in a home with one agent.
func loadSuccessor(path string) (*identity.Identity, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("--successor: %w", err)
	}
	if !info.IsDir() {
		return identity.ReadIdentity(path)
	}
	files, err := filepath.Glob(filepath.Join(path, "agents", "*", identity.IdentityFile))
	if err != nil {
		return nil, err
	}
	switch len(files) {
	case 0:
		return nil, fmt.Errorf("--successor: no agent in %s: %w", path, fs.ErrNotExist)
	case 1:
		return identity.ReadIdentity(files[0])
	}
	return nil, usagef("--successor %s: %d agents are there", path, len(files)).
		next("name the file of one: %s", strings.Join(files, ", "))
}
