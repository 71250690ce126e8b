package certificate

import (
	"bytes"
	"encoding/base64"
	"fmt"

	"amesh/identity"
)

// The purposes of the registry's signatures; see identity.Tag.
const (
	tagDocument   identity.Tag = "amesh/1 registry certificate"
	tagCompact    identity.Tag = "amesh/1 tier certificate"
	tagList       identity.Tag = "amesh/1 revocation list"
	tagStatements identity.Tag = "amesh/1 registry statement"
)

// The signature is the last member of a document, in exactly this spelling, and
// covers the document without it. So it is checked over bytes as they came, and
// still is an ordinary member to readers that know nothing of it.
const (
	sealHead = `,"signature":"`
	sealTail = `"}`
	sealSize = len(sealHead) + 88 + len(sealTail) // 88: base64 of 64 bytes
)

// seal adds the signature to a JSON object of at least one member.
func seal(key identity.PrivateKey, tag identity.Tag, object []byte) []byte {
	sig := base64.StdEncoding.EncodeToString(key.Sign(tag, object))
	sealed := append([]byte{}, object[:len(object)-1]...)
	return append(append(append(sealed, sealHead...), sig...), sealTail...)
}

// unseal takes the signature off; it does not verify it.
func unseal(sealed []byte) (object, signature []byte, err error) {
	n := len(sealed) - sealSize
	if n < 2 || string(sealed[n:n+len(sealHead)]) != sealHead || string(sealed[len(sealed)-len(sealTail):]) != sealTail {
		return nil, nil, fmt.Errorf("%w: the signature is not the last member", ErrUntrusted)
	}
	text := string(sealed[n+len(sealHead) : len(sealed)-len(sealTail)])
	signature, err = base64.StdEncoding.DecodeString(text)
	if err != nil || len(signature) != identity.SignatureSize || base64.StdEncoding.EncodeToString(signature) != text {
		return nil, nil, fmt.Errorf("%w: the signature is no base64 of 64 bytes", ErrUntrusted)
	}
	return append(append([]byte{}, sealed[:n]...), '}'), signature, nil
}

// IssueStatement signs a JSON object of the registry's own, such as a page of its
// revocations, with a last member "signature". The object has at least one member.
func (i *Issuer) IssueStatement(object []byte) []byte { return seal(i.root, tagStatements, object) }

// OpenStatement verifies what IssueStatement made and returns the object without its
// signature. A line break behind it is no part of it. It returns ErrUntrusted.
func OpenStatement(root identity.PublicKey, sealed []byte) ([]byte, error) {
	object, sig, err := unseal(bytes.TrimSuffix(sealed, []byte("\n")))
	if err != nil {
		return nil, err
	}
	if err := root.Verify(tagStatements, object, sig); err != nil {
		return nil, fmt.Errorf("%w: statement: %w", ErrUntrusted, err)
	}
	return object, nil
}
