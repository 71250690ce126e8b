package wire

// Binary is the content type of signed objects, which travel as they were signed.
const Binary = "application/octet-stream"

// Kept answers an upload of a card or a record.
type Kept struct {
	Sequence uint64 `json:"sequence"`
	Expires  Time   `json:"expires"`
}

// MaxKeyBatch is how many one-time keys one request may bring: all that an agent keeps
// ready (session.md §2.5).
const MaxKeyBatch = 120

// OneTimeKeysRequest is the body of POST /v1/amesh/one-time-keys/{amid}.
type OneTimeKeysRequest struct {
	Keys [][]byte `json:"keys" maxItems:"120" nullable:"false" doc:"signed one-time keys, each base64; none asks how many are left"`
}

// OneTimeKeysReply is the answer: how many of the keys were new, and how many of each
// kind are now there to be handed out.
type OneTimeKeysReply struct {
	Added  int `json:"added"`
	X25519 int `json:"x25519"`
	KEM    int `json:"kem"`
}

// TakenKeys is the answer of POST /v1/amesh/one-time-keys/{amid}/take: one signed key of
// each kind, or none, with which a knock does as well.
type TakenKeys struct {
	X25519 []byte `json:"x25519,omitempty" doc:"base64; absent for none"`
	KEM    []byte `json:"kem,omitempty" doc:"base64; absent for none"`
}

// Schema is a published JSON schema in a list.
type Schema struct {
	ID        string `json:"id"`
	Publisher string `json:"publisher" doc:"AMID"`
	Published Time   `json:"published"`
}

// SchemaPage is one page of schemas, in the order of their ids.
type SchemaPage struct {
	Items []Schema `json:"items" nullable:"false"`
	Next  string   `json:"next,omitempty" doc:"cursor of the next page; absent on the last one"`
}
