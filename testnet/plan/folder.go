package plan

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"amesh/identity"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

// ErrNone reports a folder in which there is no testnet.
var ErrNone = errors.New("no testnet here")

// ErrThere reports a folder in which there is one already.
var ErrThere = errors.New("there is a testnet already")

// ErrOccupied reports a folder in which there is something else.
var ErrOccupied = errors.New("the folder is not empty")

// Home is the folder of a relay or a node in the folder of a testnet: its --home.
func Home(dir, name string) string { return filepath.Join(dir, name) }

// Vacant looks whether dir may become the folder of a testnet: it is missing or empty. It
// returns ErrThere when the folder has a plan, and ErrOccupied when it has anything else:
// files of another project, with which a testnet's own would be confused, and removed one
// day.
func Vacant(dir string) error {
	there, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("testnet: %w", err)
	}
	for _, e := range there {
		if e.Name() == File {
			return fmt.Errorf("%w: %s", ErrThere, filepath.Join(dir, File))
		}
	}
	if len(there) > 0 {
		return fmt.Errorf("%w: %s", ErrOccupied, dir)
	}
	return nil
}

// Write makes the keys of everybody in p and puts p with a home for each into the folder
// dir, which is made if missing, and must be Vacant.
func (p *Plan) Write(dir string, rand io.Reader) error {
	if err := Vacant(dir); err != nil {
		return err
	}
	path := filepath.Join(dir, File)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("testnet: %w", err)
	}
	for i := range p.Relays {
		key, err := identity.LoadNodeKey(filepath.Join(Home(dir, p.Relays[i].Name), "relay", "node.key"), rand)
		if err != nil {
			return fmt.Errorf("testnet: %s: %w", p.Relays[i].Name, err)
		}
		if p.Relays[i].PeerID, err = peerID(key); err != nil {
			return fmt.Errorf("testnet: %s: %w", p.Relays[i].Name, err)
		}
	}
	for i := range p.Nodes {
		name := p.Nodes[i].Name
		id, err := identity.CreateIdentity(filepath.Join(Home(dir, name), "agents", name), rand)
		if err != nil {
			return fmt.Errorf("testnet: %s: %w", name, err)
		}
		p.Nodes[i].AMID = id.AMID().String()
	}
	raw, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("testnet: %w", err)
	}
	// The plan comes last: a folder that has one is complete.
	if err := identity.ReplaceFile(path, append(raw, '\n')); err != nil {
		return fmt.Errorf("testnet: %w", err)
	}
	return nil
}

func peerID(key identity.PrivateKey) (string, error) {
	k, err := crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(key.Seed()))
	if err != nil {
		return "", err
	}
	id, err := peer.IDFromPrivateKey(k)
	return id.String(), err
}

// Read reads the plan in a folder. It returns ErrNone when there is none.
func Read(dir string) (*Plan, error) {
	raw, err := os.ReadFile(filepath.Join(dir, File))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: no %s in %s", ErrNone, File, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("testnet: %w", err)
	}
	var p Plan
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, fmt.Errorf("testnet: %s: %w", filepath.Join(dir, File), err)
	}
	if p.Version != 1 || len(p.Nodes) == 0 || len(p.Relays) == 0 {
		return nil, fmt.Errorf("testnet: %s is of another version, or was changed", filepath.Join(dir, File))
	}
	return &p, nil
}
