package session1_test

import (
	"encoding/json"
	"testing"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/knock"
	"amesh/ratchet"
)

// fields are an object's, under the names that session1.py gives them.
type fields = map[string]any

// asJSON gives fields the form in which the driver's answers come.
func asJSON(t *testing.T, f any) any {
	t.Helper()
	raw, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	decode(t, raw, &out)
	return out
}

func contentFields(c content.Content) fields {
	f := fields{}
	switch c := c.(type) {
	case *content.Request:
		f = requestFields(c)
	case *content.Accept:
		f = fields{
			"knock_hash": hexed(c.Knock[:]), "session_type": c.SessionType, "mode": c.Mode, "limits": limitsFields(c.Limits),
			"features": c.Features, "first_seq": c.FirstSeq, "grant_expires": c.GrantExpires.Unix(), "intents": list(c.Intents),
		}
	case *content.Reject:
		f = fields{"knock_hash": hexed(c.Knock[:]), "code": c.Code, "retry_after_s": c.RetryAfter}
	case *content.Pending:
		f = fields{"knock_hash": hexed(c.Knock[:]), "until": c.Until.Unix()}
	case *content.Message:
		f = fields{"description": descriptionFields(c.Description), "body": hexed(c.Body)}
	case *content.Part:
		f = fields{
			"index": c.Index, "count": c.Count, "total": c.Total, "body_hash": hexed(c.Body[:]),
			"description": descriptionFields(c.Description), "slice": hexed(c.Slice),
		}
	case *content.Receipts:
		f = receiptsFields(c)
	case *content.Skip:
		f = fields{"from": c.From, "to": c.To}
	case *content.Close:
		f = fields{"reason": c.Reason, "last_sequence": c.LastSequence}
	case *content.Paths:
		f = fields{
			"stamp_ms": c.Stamp.UnixMilli(), "peer_ids": list(c.PeerIDs), "addresses": list(c.Addresses), "relays": list(c.Relays),
		}
	case *content.Revocation:
		f = fields{"statement": hexed(c.Statement)}
	case *content.ICEOffer:
		f = iceFields(c.Attempt, c.Stamp, c.ICEDescription)
	case *content.ICEAnswer:
		f = iceFields(c.Attempt, c.Stamp, c.ICEDescription)
		f["code"] = c.Code
	case *content.Echo:
		f = fields{"nonce": hexed(c.Nonce[:])}
	case *content.EchoReply:
		f = fields{"nonce": hexed(c.Nonce[:])}
	case *content.Unknown:
		f = fields{"fields": hexed(c.Fields)}
	}
	f["type"] = c.Type()
	return f
}

func iceFields(attempt content.Attempt, stamp time.Time, d content.ICEDescription) fields {
	return fields{
		"attempt": hexed(attempt[:]), "stamp_ms": stamp.UnixMilli(), "peer_id": d.PeerID, "ufrag": d.Ufrag, "password": d.Password,
		"candidates": list(d.Candidates),
	}
}

func requestFields(c *content.Request) fields {
	return fields{
		"nonce": hexed(c.Nonce[:]), "intent": c.Intent, "session_type": c.SessionType, "mode": c.Mode,
		"limits": limitsFields(c.Limits), "features": c.Features, "prev": hexed(c.Prev[:]), "first_seq": c.FirstSeq,
		"resume": ids(c.Resume), "tier_certificate": hexed(c.TierCertificate), "invite_secret": hexed(c.Invite),
	}
}

func limitsFields(l content.Limits) fields {
	return fields{"messages": l.Messages, "bytes": l.Bytes, "ttl_s": l.Seconds}
}

func descriptionFields(d content.Description) fields {
	return fields{
		"message_id": hexed(d.ID[:]), "sequence": d.Sequence, "created_ms": d.Created.UnixMilli(),
		"deadline_ms": d.Deadline.UnixMilli(), "intent": d.Intent, "thread": d.Thread, "reply_to": hexed(d.ReplyTo[:]),
		"content_type": d.ContentType, "file_name": d.FileName, "signature": hexed(d.Signature),
	}
}

func receiptsFields(c *content.Receipts) fields {
	messages := []fields{}
	for _, m := range c.Messages {
		messages = append(messages, fields{
			"message_id": hexed(m.ID[:]), "state": m.State, "reason": m.Reason, "at_ms": m.At.UnixMilli(), "text": m.Text,
		})
	}
	return fields{"envelopes": ids(c.Envelopes), "messages": messages}
}

func certificateFields(c identity.KeyCertificate, signature []byte) fields {
	return fields{
		"amid": hexed(c.AMID[:]), "exchange_key": hexed(c.Exchange[:]), "epoch": c.Epoch,
		"created": c.Created.Unix(), "expires": c.Expires.Unix(), "signature": hexed(signature),
	}
}

func bundleFields(b *identity.Bundle, certificate []byte) fields {
	id := b.ID()
	return fields{
		"version": 1, "amid": hexed(b.AMID[:]), "signing_key": hexed(b.SigningKey[:]), "epoch": b.Epoch, "sequence": b.Sequence,
		"created": b.Created.Unix(), "expires": b.Expires.Unix(), "key_certificate": certificateFields(b.Certificate, signatureOf(certificate)),
		"signed_prekey_id": b.SignedPrekeyID, "signed_prekey": hexed(b.SignedPrekey[:]), "kem_key_id": b.KEMKeyID, "kem_key": hexed(b.KEMKey),
		"suites": hexed(b.Suites), "features": b.Features, "signature": hexed(signatureOf(b.Raw())),
		"bundle_id": hexed(id[:]), "exchange_key": hexed(b.Certificate.Exchange[:]),
	}
}

func oneTimeFields(k *identity.OneTimeKey, raw []byte) fields {
	return fields{
		"version": 1, "amid": hexed(k.AMID[:]), "epoch": k.Epoch, "kind": k.Kind, "id": k.ID, "created": k.Created.Unix(),
		"expires": k.Expires.Unix(), "public_key": hexed(k.Public), "signature": hexed(signatureOf(raw)),
	}
}

func recordFields(r *identity.AgentRecord) fields {
	return fields{
		"version": 1, "amid": hexed(r.AMID[:]), "signing_key": hexed(r.SigningKey[:]), "sequence": r.Sequence,
		"created": r.Created.Unix(), "expires": r.Expires.Unix(), "relays": list(r.Relays), "peer_ids": list(r.PeerIDs),
		"addresses": list(r.Addresses), "bundle": hexed(r.Bundle.Raw()), "signature": hexed(signatureOf(r.Raw())),
	}
}

func signatureOf(raw []byte) []byte { return raw[len(raw)-identity.SignatureSize:] }

func ids(list []ratchet.ID) []string {
	out := []string{}
	for _, id := range list {
		out = append(out, id.String())
	}
	return out
}

func list(l []string) []string { return append([]string{}, l...) }

// knockFields are what a knock says in clear and the parts it is cut into.
func knockFields(k *knock.Knock, raw []byte) fields {
	hash, size := k.Hash(), len(k.Bytes())
	return fields{
		"prefix": hexed(raw[:6]), "suite": identity.Suite2, "epoch": k.Epoch, "from": hexed(k.From[:]), "to": hexed(k.To[:]),
		"signing_key": hexed(raw[51:83]), "key_certificate": hexed(raw[83:219]), "ek": hexed(k.EK[:]), "kem_ciphertext": hexed(k.Ciphertext),
		"signed_prekey_id": k.SignedPrekey, "kem_kind": k.KEM.Kind, "kem_id": k.KEM.ID, "one_time_kind": k.OneTime.Kind,
		"one_time_id": k.OneTime.ID, "bundle_id": hexed(k.BundleID[:]), "issued": k.Issued.Unix(), "expires": k.Expires.Unix(),
		"clear": hexed(raw[:1401]), "message_0": hexed(raw[1403 : size-identity.SignatureSize]), "bytes": hexed(k.Bytes()),
		"tail": hexed(k.Tail), "hash": hexed(hash[:]),
	}
}
