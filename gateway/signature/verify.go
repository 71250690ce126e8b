package signature

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"math/big"
	"strings"

	"amesh/gateway/amtp"
	"amesh/internal/ijson"
)

// Reasons that a Verification gives. They are a closed list; what exactly failed in a
// computation is nobody's business.
const (
	ReasonMalformed  = "malformed"     // the signature object, or the body, is not what it must be
	ReasonSelector   = "selector"      // keyid is no selector
	ReasonAlgorithm  = "algorithm"     // not one of ours, or not that of the key's record
	ReasonIncomplete = "incomplete"    // a member is missing that must be signed, or there are several recipients
	ReasonMismatch   = "mismatch"      // the signature is not over this message with this key
	ReasonNoKey      = "no_key"        // no record
	ReasonKeys       = "several_keys"  // more than one valid record
	ReasonKeyInvalid = "key_invalid"   // a record, but no usable key in it
	ReasonLookup     = "lookup_failed" // DNS did not answer
)

// Method is what a Verification says of how a domain was proven here.
const Method = "signature"

// Verifier verifies messages of other domains. It may be used by many at once.
type Verifier struct {
	policy Policy
	keys   *cache
}

// Verify judges the body of a message as it came, before anything of it was
// changed. The result is Verified, Unsigned, Invalid or KeyUnavailable; what
// follows, says the policy. Domain is the one that sender names.
func (v *Verifier) Verify(ctx context.Context, body []byte) amtp.Verification {
	out := amtp.Verification{Policy: string(v.policy)}
	p, err := take(body)
	if err != nil {
		return with(out, amtp.Invalid, ReasonMalformed)
	}
	sender, err := amtp.ParseAddress(p.sender)
	if err != nil {
		return with(out, amtp.Invalid, ReasonMalformed)
	}
	out.Domain = sender.Domain
	if p.signature == nil {
		return with(out, amtp.Unsigned, "")
	}
	out.Method = Method
	claim, reason := readClaim(p.signature, sender.Domain)
	out.KeyID, out.Algorithm = claim.selector, claim.algorithm
	if reason == "" && p.complaint != "" {
		reason = ReasonIncomplete
	}
	if reason != "" {
		return with(out, amtp.Invalid, reason)
	}
	key, err := v.keys.get(ctx, RecordName(claim.selector, sender.Domain))
	if err != nil {
		return with(out, amtp.KeyUnavailable, keyReason(err))
	}
	if key.Algorithm != claim.algorithm {
		return with(out, amtp.Invalid, ReasonAlgorithm)
	}
	digest, err := p.digest()
	if err != nil {
		return with(out, amtp.Invalid, ReasonMalformed)
	}
	if !key.holds(digest[:], claim.value) {
		return with(out, amtp.Invalid, ReasonMismatch)
	}
	return with(out, amtp.Verified, "")
}

// Policy is what follows.
func (v *Verifier) Policy() Policy { return v.policy }

func with(v amtp.Verification, result amtp.Result, reason string) amtp.Verification {
	v.Result, v.Reason = result, reason
	return v
}

func keyReason(err error) string {
	var asked interface{ Temporary() bool } // what a resolver says of its errors
	switch {
	case errors.Is(err, errNoRecord), errors.As(err, &asked) && !asked.Temporary():
		return ReasonNoKey
	case errors.Is(err, errSeveral):
		return ReasonKeys
	case errors.Is(err, ErrKeyRecord):
		return ReasonKeyInvalid
	}
	return ReasonLookup
}

// claim is what a signature object says.
type claim struct {
	algorithm, selector string
	value               []byte
}

// readClaim reads a signature object: three members and no more. The specification's older
// form of keyid, domain:selector, is taken for the sender's own domain.
func readClaim(object []byte, domain string) (c claim, reason string) {
	members, err := ijson.Object(object, amtp.MaxDepth)
	if err != nil || len(members) != 3 {
		return c, ReasonMalformed
	}
	texts := make(map[string]string, 3)
	for _, m := range members {
		s, ok := ijson.String(m.Value)
		if !ok {
			return c, ReasonMalformed
		}
		texts[m.Name] = s
	}
	algorithm, selector := texts["algorithm"], texts["keyid"]
	if before, after, ok := strings.Cut(selector, ":"); ok && strings.EqualFold(before, domain) {
		selector = after
	}
	if !ValidSelector(selector) {
		return c, ReasonSelector
	}
	c.selector = selector
	if algorithm != ES256 && algorithm != RS256 {
		return c, ReasonAlgorithm
	}
	c.algorithm = algorithm
	if c.value, err = decode(texts["value"]); err != nil || len(c.value) == 0 || len(c.value) > MaxRSABits/8 {
		return c, ReasonMalformed
	}
	return c, ""
}

// holds says whether value is this key's signature over digest.
func (k PublicKey) holds(digest, value []byte) bool {
	switch key := k.key.(type) {
	case *ecdsa.PublicKey:
		if len(value) != 64 {
			return false
		}
		return ecdsa.Verify(key, digest, new(big.Int).SetBytes(value[:32]), new(big.Int).SetBytes(value[32:]))
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest, value) == nil
	}
	return false
}
