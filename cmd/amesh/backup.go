package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"amesh/node"
	"amesh/node/api"

	"filippo.io/age"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// passphraseVariable is read where no flag says who can open a backup.
const passphraseVariable = "AMESH_PASSPHRASE"

func (a *app) backupCommand() *cobra.Command {
	var from string
	var keys []string
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write an encrypted backup of the home",
		Long: `Writes identities, contacts, grants, policy and mail to a new file, encrypted with
age: for a passphrase, or for the holders of age keys. It works while the node runs
and while it does not. A backup holds no session and no prekey: after a restore
the agent begins anew with everybody, which happens by itself.

The passphrase is asked for, or read from --passphrase-file ("-" is standard input)
or from AMESH_PASSPHRASE.`,
		Example: "  amesh backup agent.backup\n  amesh backup agent.backup --recipient age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
		Args:    words(1, 1, "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			passphrase := ""
			if len(keys) == 0 {
				if passphrase, err = a.passphrase(from, true); err != nil {
					return err
				}
			}
			return a.backup(cmd, api.BackupRequest{File: file, Passphrase: passphrase, Recipients: keys})
		},
	}
	f := cmd.Flags()
	f.StringVar(&from, "passphrase-file", "", "file whose first line is the passphrase; - for standard input")
	f.StringArrayVar(&keys, "recipient", nil, "age public key that can open it (repeatable)")
	return cmd
}

// backup asks the node for one, or where none runs, writes it itself.
func (a *app) backup(cmd *cobra.Command, r api.BackupRequest) error {
	to, err := node.BackupRecipients(r.Passphrase, r.Recipients)
	if err != nil {
		return usagef("%v", err).next("an age key looks like age1…; age-keygen makes one")
	}
	var b api.Backup
	err = a.ask(func(n api.Backend) error {
		var err error
		b, err = n.Backup(cmd.Context(), r)
		return err
	})
	if p, ok := errors.AsType[*api.Problem](err); ok && p.Code == api.CodeUnreachable {
		b, err = node.BackupHome(cmd.Context(), a.home, r.File, to)
	}
	if err != nil {
		return err
	}
	return a.show(b, func(w io.Writer) {
		fmt.Fprintf(w, "%s  %d bytes, encrypted\n", plain(b.File), b.Size)
		for _, agent := range b.Agents {
			fmt.Fprintf(w, "  %s  %s\n", plain(agent.Name), agent.AMID)
		}
		fmt.Fprintln(w, "next: keep it elsewhere, and what opens it in another place")
	})
}

func (a *app) restoreCommand() *cobra.Command {
	var from, key string
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a home of a backup",
		Long: `Makes the home of a backup: a home in which nobody lives. Every agent begins a new
epoch: it knocks at its peers again, they see that it lost its sessions, and what
was under way on either side is sent again, once. The home from which the backup
came must not run any more: peers follow the newer one.`,
		Example: "  amesh restore agent.backup --home ~/restored\n  amesh restore agent.backup --identity age.key",
		Args:    words(1, 1, "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			by, err := a.openers(from, key)
			if err != nil {
				return err
			}
			file, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer file.Close()
			res, err := node.Restore(cmd.Context(), a.home, file, by, time.Now())
			if err != nil {
				return err
			}
			return a.show(res, func(w io.Writer) {
				for _, agent := range res.Agents {
					fmt.Fprintf(w, "%s  %s  epoch %d\n", plain(agent.Name), agent.AMID, agent.Epoch)
				}
				fmt.Fprintf(w, "%d rows of mail, contacts and grants are back in %s\n", res.Rows, plain(a.home))
				fmt.Fprintln(w, "next: amesh up; new sessions come about by themselves")
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&from, "passphrase-file", "", "file whose first line is the passphrase; - for standard input")
	f.StringVar(&key, "identity", "", "file with the age key that opens it")
	return cmd
}

// openers are the keys that a backup is tried with.
func (a *app) openers(passphraseFile, keyFile string) ([]age.Identity, error) {
	if keyFile != "" {
		f, err := os.Open(keyFile)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		ids, err := age.ParseIdentities(f)
		if err != nil {
			return nil, usagef("%s holds no age key", plain(keyFile)).next("give the file that age-keygen wrote")
		}
		return ids, nil
	}
	passphrase, err := a.passphrase(passphraseFile, false)
	if err != nil {
		return nil, err
	}
	one, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, usagef("%v", err)
	}
	return []age.Identity{one}, nil
}

// passphrase reads the passphrase from where the caller gave it, or asks; twice for a
// new one.
func (a *app) passphrase(file string, fresh bool) (string, error) {
	switch {
	case file == "-":
		return firstLine(a.in)
	case file != "":
		f, err := os.Open(file)
		if err != nil {
			return "", err
		}
		defer f.Close()
		return firstLine(f)
	}
	if p := a.getenv(passphraseVariable); p != "" {
		return p, nil
	}
	in, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", usagef("no passphrase, and no terminal to ask for one").
			next("give --passphrase-file or %s, or use an age key", passphraseVariable)
	}
	first, err := a.askHidden(in, "passphrase: ")
	if err != nil || !fresh {
		return first, err
	}
	second, err := a.askHidden(in, "once more: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", usagef("the two are not the same").next("try again")
	}
	return first, nil
}

func (a *app) askHidden(in *os.File, prompt string) (string, error) {
	fmt.Fprint(a.err, prompt)
	b, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(a.err)
	if err != nil {
		return "", err
	}
	if len(b) == 0 {
		return "", usagef("an empty passphrase protects nothing").next("try again")
	}
	return string(b), nil
}

func firstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 4096)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", err
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", usagef("the first line is empty: no passphrase").next("write the passphrase there")
	}
	return line, nil
}
