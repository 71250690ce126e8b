package identity

import (
	"fmt"
	"strings"
	"time"

	"github.com/mr-tron/base58"
)

// DIDDocument is the public description of an agent (AgentMesh §1.5), in the
// registry's shape.
type DIDDocument struct {
	Context            []string             `json:"@context"`
	ID                 string               `json:"id"`
	Controller         string               `json:"controller"`
	VerificationMethod []VerificationMethod `json:"verificationMethod"`
	Authentication     []string             `json:"authentication"`
	KeyAgreement       []string             `json:"keyAgreement"`
	Service            []DIDService         `json:"service,omitempty"`
	Created            time.Time            `json:"created"`
	Updated            time.Time            `json:"updated"`
}

// VerificationMethod is one key of a DID document.
type VerificationMethod struct {
	ID                 string `json:"id"`
	Type               string `json:"type"`
	Controller         string `json:"controller"`
	PublicKeyMultibase string `json:"publicKeyMultibase"`
}

// DIDService is one endpoint of a DID document.
type DIDService struct {
	ID              string `json:"id"`
	Type            string `json:"type"`
	ServiceEndpoint string `json:"serviceEndpoint"`
}

const (
	fragmentSigning   = "#signing-key"
	fragmentAgreement = "#key-agreement-key"
	fragmentRelay     = "#relay"
)

// Multicodec prefixes in front of a raw key. The 0.2 registry leaves them out,
// which makes its multibase a string that no other tool reads.
const (
	codecEd25519 = "\xed\x01"
	codecX25519  = "\xec\x01"
)

// NewDIDDocument describes an agent. relay may be empty.
func NewDIDDocument(signing PublicKey, exchange [ExchangeKeySize]byte, relay string, created, updated time.Time) DIDDocument {
	did := signing.AMID().DID()
	doc := DIDDocument{
		Context: []string{
			"https://www.w3.org/ns/did/v1",
			"https://w3id.org/security/suites/ed25519-2020/v1",
			"https://w3id.org/security/suites/x25519-2020/v1",
		},
		ID:         did,
		Controller: did,
		VerificationMethod: []VerificationMethod{
			{did + fragmentSigning, "Ed25519VerificationKey2020", did, multibase(codecEd25519, signing[:])},
			{did + fragmentAgreement, "X25519KeyAgreementKey2020", did, multibase(codecX25519, exchange[:])},
		},
		Authentication: []string{did + fragmentSigning},
		KeyAgreement:   []string{did + fragmentAgreement},
		Created:        created.UTC(),
		Updated:        updated.UTC(),
	}
	if relay != "" {
		doc.Service = []DIDService{{did + fragmentRelay, "AgentMeshRelay", relay}}
	}
	return doc
}

// SigningKey finds the agent's signing key in the document and checks that the
// document's name belongs to it. It returns ErrAMID, ErrKey or ErrMismatch.
func (d *DIDDocument) SigningKey() (PublicKey, error) {
	amid, err := ParseAMID(d.ID)
	if err != nil || !strings.HasPrefix(d.ID, didPrefix) {
		return PublicKey{}, fmt.Errorf("DID document: %w: %.60q", ErrAMID, d.ID)
	}
	for _, m := range d.VerificationMethod {
		if m.ID != d.ID+fragmentSigning {
			continue
		}
		k, err := ParsePublicKeyMultibase(m.PublicKeyMultibase)
		if err != nil {
			return PublicKey{}, fmt.Errorf("DID document: %w", err)
		}
		if k.AMID() != amid {
			return PublicKey{}, fmt.Errorf("DID document: %w: key of %s under the name %s", ErrMismatch, k.AMID(), amid)
		}
		return k, nil
	}
	return PublicKey{}, fmt.Errorf("DID document: %w: no %s", ErrKey, fragmentSigning)
}

// ParsePublicKeyMultibase reads an Ed25519 key in any of the spellings that the
// mesh has seen, all behind the letter z: base64 with or without "ed25519:", as
// the registry and the Python SDK write, base58 of the raw key, as the
// JavaScript SDK does, and base58 with the multicodec prefix, which is right.
// It returns ErrKey.
func ParsePublicKeyMultibase(s string) (PublicKey, error) {
	raw, err := decodeMultibase(s, "ed25519:", codecEd25519)
	if err != nil {
		return PublicKey{}, err
	}
	return ParsePublicKey(raw)
}

// ParseExchangeKeyMultibase is the same for an X25519 key. It returns ErrKey or
// ErrLowOrder.
func ParseExchangeKeyMultibase(s string) ([ExchangeKeySize]byte, error) {
	raw, err := decodeMultibase(s, "x25519:", codecX25519)
	if err != nil {
		return [ExchangeKeySize]byte{}, err
	}
	k := [ExchangeKeySize]byte(raw)
	return k, CheckExchangeKey(k)
}

func multibase(codec string, raw []byte) string {
	return "z" + base58.Encode(append([]byte(codec), raw...))
}

func decodeMultibase(s, prefix, codec string) ([]byte, error) {
	text, ok := strings.CutPrefix(s, "z")
	if !ok || len(text) > 64 {
		return nil, fmt.Errorf("%w: multibase %.80q", ErrKey, s)
	}
	// Base64 of 32 bytes has 44 characters and ends in "=", which base58 has not.
	if strings.HasSuffix(text, "=") {
		raw, ok := decodeBase64(strings.TrimPrefix(text, prefix))
		if !ok || len(raw) != ExchangeKeySize {
			return nil, fmt.Errorf("%w: multibase %.80q", ErrKey, s)
		}
		return raw, nil
	}
	raw, err := base58.Decode(text)
	if err != nil || base58.Encode(raw) != text {
		return nil, fmt.Errorf("%w: multibase %.80q", ErrKey, s)
	}
	if len(raw) == ExchangeKeySize+len(codec) && strings.HasPrefix(string(raw), codec) {
		raw = raw[len(codec):]
	}
	if len(raw) != ExchangeKeySize {
		return nil, fmt.Errorf("%w: multibase %.80q", ErrKey, s)
	}
	return raw, nil
}
