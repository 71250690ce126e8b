package identity

import (
	"crypto/ecdh"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"amesh/internal/strictjson"
)

// IdentityFile is the name of an agent's key file in its folder.
const IdentityFile = "identity.json"

// maxKeyFile is more than any key file has, in bytes.
const maxKeyFile = 64 << 10

const framework, frameworkVersion = "amesh", "1"

var (
	// ErrKeyPermissions reports a key file that others than its owner can reach.
	ErrKeyPermissions = errors.New("key_permissions")
	// ErrExists reports that a key file is already there; none is ever replaced.
	ErrExists = errors.New("already exists")
	// ErrKeyFile reports a key file that cannot be read as one.
	ErrKeyFile = errors.New("not a key file")
)

// ExchangeKey is the private X25519 key of an identity file. It prints as
// "(hidden)" under every verb.
type ExchangeKey [ExchangeKeySize]byte

// Public is the public half.
func (k ExchangeKey) Public() [ExchangeKeySize]byte {
	p, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil {
		panic("identity: X25519 refused 32 bytes: " + err.Error()) // it takes any
	}
	return [ExchangeKeySize]byte(p.PublicKey().Bytes())
}

// Format hides the key, whatever the verb.
func (k ExchangeKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "(hidden)") }

// MarshalText hides the key from JSON and from log/slog.
func (k ExchangeKey) MarshalText() ([]byte, error) { return []byte("(hidden)"), nil }

// Identity is what an agent's key file holds.
type Identity struct {
	Key      PrivateKey
	Exchange ExchangeKey // the exchange key that the 0.2 wire knows
	Created  time.Time
}

// AMID is the agent's name.
func (id *Identity) AMID() AMID { return id.Key.AMID() }

// identityFile is the SDKs' format (AgentMesh §1.3), field by field.
type identityFile struct {
	AMID             string `json:"amid"`
	SigningPrivate   string `json:"signing_private_key"`
	SigningPublic    string `json:"signing_public_key"`
	ExchangePrivate  string `json:"exchange_private_key"`
	ExchangePublic   string `json:"exchange_public_key"`
	CreatedAt        string `json:"created_at"`
	Framework        string `json:"framework"`
	FrameworkVersion string `json:"framework_version"`
}

// CreateIdentity makes a new agent in the folder dir, which is made if missing.
// It returns ErrExists when there is one already.
func CreateIdentity(dir string, rand io.Reader) (*Identity, error) {
	key, err := GenerateKey(rand)
	if err != nil {
		return nil, fmt.Errorf("create identity: %w", err)
	}
	id := &Identity{Key: key, Created: time.Now().UTC().Truncate(time.Millisecond)}
	if _, err := io.ReadFull(rand, id.Exchange[:]); err != nil {
		return nil, fmt.Errorf("create identity: %w", err)
	}
	if err := id.save(dir); err != nil {
		return nil, fmt.Errorf("create identity: %w", err)
	}
	return id, nil
}

// LoadIdentity reads the agent in the folder dir. It returns fs.ErrNotExist when
// there is none, ErrKeyPermissions when others can read it, and ErrKeyFile or
// ErrMismatch when the file is torn or does not fit together.
func LoadIdentity(dir string) (*Identity, error) {
	return ReadIdentity(filepath.Join(dir, IdentityFile))
}

// ReadIdentity is LoadIdentity for a file that lies anywhere.
func ReadIdentity(path string) (*Identity, error) {
	raw, err := readKeyFile(path)
	if err != nil {
		return nil, fmt.Errorf("load identity: %w", err)
	}
	id, err := parseIdentity(raw)
	if err != nil {
		return nil, fmt.Errorf("load identity %s: %w", path, err)
	}
	return id, nil
}

// ImportIdentity copies an SDK's identity file into the folder dir. It returns
// ErrExists when dir has an agent, and what LoadIdentity returns.
func ImportIdentity(src, dir string) (*Identity, error) {
	raw, err := readKeyFile(src)
	if err != nil {
		return nil, fmt.Errorf("import identity: %w", err)
	}
	id, err := parseIdentity(raw)
	if err != nil {
		return nil, fmt.Errorf("import identity %s: %w", src, err)
	}
	if err := id.save(dir); err != nil {
		return nil, fmt.Errorf("import identity: %w", err)
	}
	return id, nil
}

// parseIdentity believes the private keys only: name and public keys must be
// theirs, else the file was put together from several, or half of it is damaged.
func parseIdentity(raw []byte) (*Identity, error) {
	if _, err := strictjson.Object(raw); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	var f identityFile
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrKeyFile, err)
	}
	seed, err := decodeKeyText(f.SigningPrivate, "ed25519:")
	if err != nil {
		return nil, fmt.Errorf("%w: signing_private_key: %w", ErrKeyFile, err)
	}
	exchange, err := decodeKeyText(f.ExchangePrivate, "x25519:")
	if err != nil {
		return nil, fmt.Errorf("%w: exchange_private_key: %w", ErrKeyFile, err)
	}
	id := &Identity{Exchange: ExchangeKey(exchange)}
	if id.Key, err = PrivateKeyFromSeed(seed); err != nil {
		return nil, err
	}
	// RFC 3339 covers both SDKs: JavaScript's "….000Z", Python's "….000000+00:00".
	if id.Created, err = time.Parse(time.RFC3339Nano, f.CreatedAt); err != nil {
		return nil, fmt.Errorf("%w: created_at: %q is no RFC 3339 time", ErrKeyFile, f.CreatedAt)
	}
	id.Created = id.Created.UTC()
	return id, id.checkFile(f)
}

func (id *Identity) checkFile(f identityFile) error {
	public, err := decodeKeyText(f.SigningPublic, "ed25519:")
	if err != nil {
		return fmt.Errorf("%w: signing_public_key: %w", ErrKeyFile, err)
	}
	exchange, err := decodeKeyText(f.ExchangePublic, "x25519:")
	if err != nil {
		return fmt.Errorf("%w: exchange_public_key: %w", ErrKeyFile, err)
	}
	switch {
	case PublicKey(public) != id.Key.Public():
		return fmt.Errorf("%w: signing_public_key is not the private key's", ErrMismatch)
	case [ExchangeKeySize]byte(exchange) != id.Exchange.Public():
		return fmt.Errorf("%w: exchange_public_key is not the private key's", ErrMismatch)
	case f.AMID != id.AMID().String():
		return fmt.Errorf("%w: amid is %.40q, the key's is %s", ErrMismatch, f.AMID, id.AMID())
	}
	return nil
}

func (id *Identity) save(dir string) error {
	signing, exchange := id.Key.Public(), id.Exchange.Public()
	b64 := base64.StdEncoding.EncodeToString
	raw, err := json.MarshalIndent(identityFile{
		AMID:             id.AMID().String(),
		SigningPrivate:   "ed25519:" + b64(id.Key.Seed()),
		SigningPublic:    "ed25519:" + b64(signing[:]),
		ExchangePrivate:  "x25519:" + b64(id.Exchange[:]),
		ExchangePublic:   "x25519:" + b64(exchange[:]),
		CreatedAt:        id.Created.Format("2006-01-02T15:04:05.000Z"),
		Framework:        framework,
		FrameworkVersion: frameworkVersion,
	}, "", "  ")
	if err != nil {
		return err
	}
	return createKeyFile(filepath.Join(dir, IdentityFile), append(raw, '\n'))
}

// LoadNodeKey reads the node's key, or makes it from rand if there is none. The
// file is one line, "ed25519:" and the base64 of the 32-byte seed, under the same
// rules as an identity file.
func LoadNodeKey(path string, rand io.Reader) (PrivateKey, error) {
	key, err := readNodeKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = createNodeKey(path, rand)
	}
	if err != nil {
		return PrivateKey{}, fmt.Errorf("node key: %w", err)
	}
	return key, nil
}

func readNodeKey(path string) (PrivateKey, error) {
	raw, err := readKeyFile(path)
	if err != nil {
		return PrivateKey{}, err
	}
	text := string(raw)
	n := len(text) - 1
	if n < 0 || text[n] != '\n' { // the newline is written last: without it the file is torn
		return PrivateKey{}, fmt.Errorf("%w: %s", ErrKeyFile, path)
	}
	seed, err := decodeKeyText(text[:n], "ed25519:")
	if err != nil {
		return PrivateKey{}, fmt.Errorf("%w: %s: %w", ErrKeyFile, path, err)
	}
	return PrivateKeyFromSeed(seed)
}

func createNodeKey(path string, rand io.Reader) (PrivateKey, error) {
	key, err := GenerateKey(rand)
	if err != nil {
		return PrivateKey{}, err
	}
	text := "ed25519:" + base64.StdEncoding.EncodeToString(key.Seed()) + "\n"
	if err := createKeyFile(path, []byte(text)); err != nil {
		return PrivateKey{}, err
	}
	return key, nil
}
