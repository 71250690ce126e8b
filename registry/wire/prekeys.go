package wire

// OneTimePrekey is a key that is handed out once, without prefix.
type OneTimePrekey struct {
	ID  int32  `json:"id"`
	Key string `json:"key"`
}

// PrekeysRequest is the body of POST /v1/registry/prekeys.
type PrekeysRequest struct {
	AMID                  string          `json:"amid"`
	SignedPrekey          string          `json:"signed_prekey"`
	SignedPrekeySignature string          `json:"signed_prekey_signature"`
	SignedPrekeyID        int32           `json:"signed_prekey_id"`
	OneTimePrekeys        []OneTimePrekey `json:"one_time_prekeys"`
	Stamp
}

// PrekeysStored is the answer: how many one-time keys were sent, and how many are there
// now to be handed out.
type PrekeysStored struct {
	Success               bool  `json:"success"`
	SignedPrekeyID        int32 `json:"signed_prekey_id"`
	OneTimePrekeysStored  int   `json:"one_time_prekeys_stored"`
	OneTimePrekeysPresent int   `json:"one_time_prekeys_available"`
}

// PrekeyBundle is the answer of GET /v1/registry/prekeys/{amid}. The one-time key stands
// there twice, as the specification has it and as the JavaScript SDK reads it.
type PrekeyBundle struct {
	IdentityKey           string          `json:"identity_key"`
	SignedPrekey          string          `json:"signed_prekey"`
	SignedPrekeySignature string          `json:"signed_prekey_signature"`
	SignedPrekeyID        int32           `json:"signed_prekey_id"`
	OneTimePrekey         *OneTimePrekey  `json:"one_time_prekey,omitempty"`
	OneTimePrekeys        []OneTimePrekey `json:"one_time_prekeys"`
}
