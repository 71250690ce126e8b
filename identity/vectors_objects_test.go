package identity

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"amesh/internal/wire"
)

func TestVectorsAMID(t *testing.T) {
	type vector struct {
		Seed   hexBytes `json:"signing_seed"`
		Public hexBytes `json:"signing_key"`
		AMID   hexBytes `json:"amid"`
		Text   string   `json:"amid_text"`
		DID    string   `json:"did"`
	}
	var made []vector
	for _, b := range []byte{0, 1, 2, 3, 0x7F, 0x80, 0xFE, 0xFF} {
		k := testKey(t, b)
		public, amid := k.Public(), k.AMID()
		made = append(made, vector{k.Seed(), public[:], amid[:], amid.String(), amid.DID()})
	}
	for _, v := range compare(t, "amids.json", "Names of agents: AMID = H(signing key)[:20].", made) {
		k, err := PrivateKeyFromSeed(v.Seed)
		if err != nil || k.AMID().String() != v.Text || !bytes.Equal(v.AMID, make20(k.AMID())) {
			t.Errorf("%s: %s, %v", v.Text, k.AMID(), err)
		}
		if a, err := ParseAMID(v.DID); err != nil || a != k.AMID() {
			t.Errorf("%s: %s, %v", v.DID, a, err)
		}
	}
}

func make20(a AMID) []byte { return a[:] }

func TestVectorsSigningKeys(t *testing.T) {
	made := []object{{Name: "a good one", Encoded: make32(testKey(t, 1).Public())}}
	for name, k := range pairs(badKeys(t)) {
		made = append(made, object{Name: name, Encoded: k, Error: ErrKey.Error()})
	}
	made = append(made, object{Name: "not on the curve", Encoded: append([]byte{2}, make([]byte, 31)...), Error: ErrKey.Error()},
		object{Name: "31 bytes", Encoded: make([]byte, 31), Error: ErrKey.Error()})
	stored := compare(t, "signing_keys.json", "Ed25519 public keys as they enter: accepted, or refused with a code (session.md §2.1).", made)
	for _, v := range stored {
		if _, err := ParsePublicKey(v.Encoded); code(err) != v.Error {
			t.Errorf("%s: got %v, want %q", v.Name, err, v.Error)
		}
	}
}

func TestVectorsCertificates(t *testing.T) {
	key, raw := testKey(t, 1), must(t)(SignKeyCertificate(testKey(t, 1), vectorCertificate(t)))
	var made []object
	for name, change := range pairs(map[string]func(c *KeyCertificate){
		"a year":          func(*KeyCertificate) {},
		"epoch 0":         func(c *KeyCertificate) { c.Epoch = 0 },
		"last epoch":      func(c *KeyCertificate) { c.Epoch = 1<<32 - 1 },
		"a second":        func(c *KeyCertificate) { c.Expires = c.Created.Add(time.Second) },
		"from 1970":       func(c *KeyCertificate) { c.Created = time.Unix(0, 0) },
		"until year 9999": func(c *KeyCertificate) { c.Expires = time.Unix(latestTime, 0) },
	}) {
		c := vectorCertificate(t)
		change(&c)
		c.AMID = key.AMID()
		made = append(made, object{
			Name: name, Seed: key.Seed(), Signer: make32(key.Public()), Encoded: must(t)(SignKeyCertificate(key, c)), Fields: fieldsOfCertificate(&c),
		})
	}
	signed := func(change func(b []byte)) []byte { return resign(t, key, TagKeyCertificate, raw, change) }
	for name, c := range pairs(map[string]refused{
		"signed by another":             {resign(t, testKey(t, 2), TagKeyCertificate, raw, func([]byte) {}), ErrSignature},
		"of another agent":              {must(t)(SignKeyCertificate(testKey(t, 2), vectorCertificate(t))), ErrMismatch},
		"under another name":            {signed(func(b []byte) { b[0] ^= 1 }), ErrMismatch},
		"changed afterwards":            {flipped(raw, 52), ErrSignature},
		"signed with another tag":       {resign(t, key, TagBundle, raw, func([]byte) {}), ErrSignature},
		"signed without a tag":          {append(bytes.Clone(raw[:72]), key.SignTimestamp(string(raw[:72]))...), ErrSignature},
		"exchange key of order 1":       {signed(func(b []byte) { clear(b[20:52]) }), ErrLowOrder},
		"exchange key is the prime":     {signed(func(b []byte) { copy(b[20:], fieldPrime[:]) }), ErrKey},
		"exchange key with top bit set": {signed(func(b []byte) { b[51] |= 0x80 }), ErrKey},
		"ends when it begins":           {signed(func(b []byte) { copy(b[64:72], b[56:64]) }), wire.ErrMalformed},
		"begins before 1970":            {signed(func(b []byte) { b[56] = 0x80 }), wire.ErrMalformed},
		"ends in the year 10000":        {signed(func(b []byte) { copy(b[64:], []byte{0, 0, 0, 0x3A, 0xFF, 0xF4, 0x41, 0x80}) }), wire.ErrMalformed},
		"a byte short":                  {raw[:135], wire.ErrMalformed},
		"a byte long":                   {append(bytes.Clone(raw), 0), wire.ErrMalformed},
		"empty":                         {nil, wire.ErrMalformed},
	}) {
		made = append(made, object{Name: name, Signer: make32(key.Public()), Encoded: c.raw, Error: c.want.Error()})
	}
	stored := compare(t, "certificates.json", "Key certificates (session.md §2.3), read under the key named signer.", made)
	checkObjects(t, stored, func(v object) (any, error) {
		c, err := ParseKeyCertificate(v.Encoded, PublicKey(v.Signer))
		if err != nil {
			return nil, err
		}
		return fieldsOfCertificate(c), nil
	})
}

// refused is what somebody could send, and the error it meets.
type refused struct {
	raw  []byte
	want error
}

func flipped(raw []byte, at int) []byte {
	b := bytes.Clone(raw)
	b[at] ^= 1
	return b
}

func vectorCertificate(t testing.TB) KeyCertificate {
	t.Helper()
	return KeyCertificate{Exchange: testExchange(t, 2), Epoch: 3, Created: noon, Expires: noon.AddDate(1, 0, 0)}
}

func TestVectorsBundles(t *testing.T) {
	key, raw := testKey(t, 1), signedBundle(t, 1)
	var made []object
	for name, change := range pairs(map[string]func(b *Bundle){
		"one suite":           func(*Bundle) {},
		"suites to come":      func(b *Bundle) { b.Suites = []byte{2, 3, 200} },
		"sixteen suites":      func(b *Bundle) { b.Suites = []byte{2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 255} },
		"features to come":    func(b *Bundle) { b.Features = 0xFFFFFFFF },
		"first of all":        func(b *Bundle) { b.Epoch, b.Sequence = 0, 0 },
		"last of all":         func(b *Bundle) { b.Epoch, b.Sequence = 1<<32-1, 1<<64-1 },
		"highest ids":         func(b *Bundle) { b.SignedPrekeyID, b.KEMKeyID = 1<<32-1, 1<<32-1 },
		"a second":            func(b *Bundle) { b.Expires = b.Created.Add(time.Second) },
		"certificate is over": func(b *Bundle) { b.Certificate.Expires = b.Created.Add(time.Second) },
	}) {
		b := testBundle(t, 1)
		change(&b)
		encoded := must(t)(SignBundle(key, b))
		b.AMID, b.SigningKey, b.raw = key.AMID(), key.Public(), encoded
		b.Certificate.AMID, b.Certificate.Epoch = b.AMID, b.Epoch
		if b.Suites == nil {
			b.Suites = []byte{Suite2}
		}
		made = append(made, object{Name: name, Seed: key.Seed(), Encoded: encoded, Fields: fieldsOfBundle(&b)})
	}
	for name, c := range pairs(refusedBundles(t, key, raw)) {
		made = append(made, object{Name: name, Encoded: c.raw, Error: c.want.Error()})
	}
	checkObjects(t, compare(t, "bundles.json", "Bundles (session.md §2.4).", made), func(v object) (any, error) {
		b, err := ParseBundle(v.Encoded)
		if err != nil {
			return nil, err
		}
		return fieldsOfBundle(b), nil
	})
}

func refusedBundles(t *testing.T, key PrivateKey, raw []byte) map[string]refused {
	signed := func(change func(b []byte)) []byte { return resign(t, key, TagBundle, raw, change) }
	put := func(at int, b ...byte) []byte { return signed(func(body []byte) { copy(body[at:], b) }) }
	suites := func(list ...byte) []byte {
		body := bytes.Clone(raw[:atSuites])
		body = append(append(append(body, byte(len(list))), list...), raw[atSuites+2:len(raw)-SignatureSize]...)
		return append(body, key.Sign(TagBundle, body)...)
	}
	other := testKey(t, 2)
	otherName, otherKey := other.AMID(), other.Public()
	oldEpoch := testBundle(t, 1).Certificate
	oldEpoch.Epoch = 2
	identityPoint := badKeys(t)["order 1"]
	identityName := AMIDOf(PublicKey(identityPoint))
	return map[string]refused{
		"version 0":                         {put(0, 0), wire.ErrMalformed},
		"version 2":                         {put(0, 2), wire.ErrMalformed},
		"under another name":                {put(1, otherName[:]...), ErrMismatch},
		"with another key":                  {put(21, otherKey[:]...), ErrMismatch},
		"signed by another":                 {resign(t, other, TagBundle, raw, func([]byte) {}), ErrSignature},
		"signed with another tag":           {resign(t, key, TagAgentRecord, raw, func([]byte) {}), ErrSignature},
		"changed afterwards":                {flipped(raw, atPrekey), ErrSignature},
		"key is the identity point":         {signed(func(b []byte) { copy(b[1:], identityName[:]); copy(b[21:], identityPoint) }), ErrKey},
		"ends when it begins":               {signed(func(b []byte) { copy(b[atExpires:atExpires+8], b[atCreated:]) }), wire.ErrMalformed},
		"lives 14 days and a second":        {signed(func(b []byte) { b[atExpires+7]++ }), wire.ErrMalformed},
		"begins before 1970":                {put(atCreated, 0x80), wire.ErrMalformed},
		"certificate of another":            {put(atCertificate, must(t)(SignKeyCertificate(other, testBundle(t, 1).Certificate))...), ErrMismatch},
		"certificate of another epoch":      {put(atCertificate, must(t)(SignKeyCertificate(key, oldEpoch))...), ErrMismatch},
		"certificate changed afterwards":    {put(atCertificate+20, 1), ErrSignature},
		"signed prekey of order 1":          {put(atPrekey, make([]byte, 32)...), ErrLowOrder},
		"signed prekey is the prime":        {put(atPrekey, fieldPrime[:]...), ErrKey},
		"KEM key with a coefficient over q": {put(atKEM, 0xFF, 0xFF), ErrKEM},
		"no suites":                         {suites(), wire.ErrMalformed},
		"suite 1 only":                      {suites(1), wire.ErrMalformed},
		"suite 3 only":                      {suites(3), wire.ErrMalformed},
		"suite 0 beside 2":                  {suites(0, 2), wire.ErrMalformed},
		"suite 1 beside 2":                  {suites(1, 2), wire.ErrMalformed},
		"suite 2 twice":                     {suites(2, 2), wire.ErrMalformed},
		"suites descending":                 {suites(3, 2), wire.ErrMalformed},
		"seventeen suites":                  {suites(2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18), wire.ErrMalformed},
		"a byte short":                      {raw[:len(raw)-1], wire.ErrMalformed},
		"a byte long":                       {append(bytes.Clone(raw), 0), wire.ErrMalformed},
		"empty":                             {nil, wire.ErrMalformed},
	}
}

func TestVectorsOneTimeKeys(t *testing.T) {
	key := testKey(t, 1)
	x, kem := oneTimeKey(make32(testExchange(t, 9)), KindOneTime), oneTimeKey(testKEM(t, 9), KindOneTimeKEM)
	var made []object
	for name, change := range pairs(map[string]func(k *OneTimeKey){
		"X25519":              func(*OneTimeKey) {},
		"X25519, id 0":        func(k *OneTimeKey) { k.ID = 0 },
		"X25519, highest id":  func(k *OneTimeKey) { k.ID = 1<<32 - 1 },
		"X25519, last epoch":  func(k *OneTimeKey) { k.Epoch = 1<<32 - 1 },
		"ML-KEM":              func(k *OneTimeKey) { k.Kind, k.Public = kem.Kind, kem.Public },
		"ML-KEM, same number": func(k *OneTimeKey) { k.Kind, k.Public, k.ID = kem.Kind, kem.Public, x.ID },
		"ML-KEM, of 30 days": func(k *OneTimeKey) {
			k.Kind, k.Public, k.Expires = kem.Kind, kem.Public, k.Created.Add(30*24*time.Hour)
		},
		"X25519, for a second": func(k *OneTimeKey) { k.Expires = k.Created.Add(time.Second) },
	}) {
		k := x
		change(&k)
		k.AMID = key.AMID()
		made = append(made, object{
			Name: name, Seed: key.Seed(), Signer: make32(key.Public()), Encoded: must(t)(SignOneTimeKey(key, k)), Fields: fieldsOfOneTime(&k),
		})
	}
	rawX, rawKEM := must(t)(SignOneTimeKey(key, x)), must(t)(SignOneTimeKey(key, kem))
	signed := func(raw []byte, change func(b []byte)) []byte { return resign(t, key, TagOneTimeKey, raw, change) }
	for name, c := range pairs(map[string]refused{
		"version 2":                         {signed(rawX, func(b []byte) { b[0] = 2 }), wire.ErrMalformed},
		"under another name":                {signed(rawX, func(b []byte) { b[1] ^= 1 }), ErrMismatch},
		"of another agent":                  {must(t)(SignOneTimeKey(testKey(t, 2), x)), ErrMismatch},
		"changed afterwards":                {flipped(rawX, 24), ErrSignature},
		"signed with another tag":           {resign(t, key, TagBundle, rawX, func([]byte) {}), ErrSignature},
		"kind none":                         {signed(rawX, func(b []byte) { b[25] = 0 }), wire.ErrMalformed},
		"kind signed prekey":                {signed(rawX, func(b []byte) { b[25] = 1 }), wire.ErrMalformed},
		"kind last-resort key":              {signed(rawKEM, func(b []byte) { b[25] = 2 }), wire.ErrMalformed},
		"kind 5":                            {signed(rawX, func(b []byte) { b[25] = 5 }), wire.ErrMalformed},
		"KEM key as X25519":                 {signed(rawKEM, func(b []byte) { b[25] = 4 }), wire.ErrMalformed},
		"X25519 of order 1":                 {signed(rawX, func(b []byte) { clear(b[len(b)-32:]) }), ErrLowOrder},
		"X25519 is the prime":               {signed(rawX, func(b []byte) { copy(b[len(b)-32:], fieldPrime[:]) }), ErrKey},
		"KEM key with a coefficient over q": {signed(rawKEM, func(b []byte) { copy(b[len(b)-KEMKeySize:], []byte{0xFF, 0xFF}) }), ErrKEM},
		"31 days": {signed(rawX, func(b []byte) {
			binary.BigEndian.PutUint64(b[38:], binary.BigEndian.Uint64(b[30:])+31*24*3600)
		}), wire.ErrMalformed},
		"ends when it begins":  {signed(rawX, func(b []byte) { copy(b[38:46], b[30:38]) }), wire.ErrMalformed},
		"a byte short":         {rawX[:len(rawX)-1], wire.ErrMalformed},
		"a byte long":          {append(bytes.Clone(rawX), 0), wire.ErrMalformed},
		"length promises more": {signed(rawX, func(b []byte) { b[47]++ }), wire.ErrMalformed},
	}) {
		made = append(made, object{Name: name, Signer: make32(key.Public()), Encoded: c.raw, Error: c.want.Error()})
	}
	stored := compare(t, "one_time_keys.json", "One-time keys (session.md §2.5), read under the key named signer.", made)
	checkObjects(t, stored, func(v object) (any, error) {
		k, err := ParseOneTimeKey(v.Encoded, PublicKey(v.Signer))
		if err != nil {
			return nil, err
		}
		return fieldsOfOneTime(k), nil
	})
}

func TestVectorsRecords(t *testing.T) {
	key, bundle, raw := testKey(t, 1), signedBundle(t, 1), signedRecord(t, 1)
	long := strings.Repeat("x", 255)
	var made []object
	for name, change := range pairs(map[string]func(r *AgentRecord){
		"relay, peer id and address": func(*AgentRecord) {},
		"nothing announced":          func(r *AgentRecord) { r.Relays, r.PeerIDs, r.Addresses = nil, nil, nil },
		"relays only":                func(r *AgentRecord) { r.PeerIDs, r.Addresses = nil, nil },
		"text beyond ASCII":          func(r *AgentRecord) { r.Relays = []string{"wss://relé.example", "wss://中.example"} },
		"last sequence":              func(r *AgentRecord) { r.Sequence = 1<<64 - 1 },
		"as much as fits": func(r *AgentRecord) {
			r.Relays, r.PeerIDs, r.Addresses = fill(8, long), fill(8, long), fill(16, long[:100])
		},
	}) {
		r := testRecord()
		change(&r)
		encoded := must(t)(SignRecord(key, r, bundle))
		r.AMID, r.SigningKey = key.AMID(), key.Public()
		r.Bundle = &Bundle{raw: bundle}
		made = append(made, object{Name: name, Seed: key.Seed(), Encoded: encoded, Fields: fieldsOfRecord(&r)})
	}
	for name, c := range pairs(refusedRecords(t, key, raw, bundle)) {
		made = append(made, object{Name: name, Encoded: c.raw, Error: c.want.Error()})
	}
	checkObjects(t, compare(t, "records.json", "Agent records (session.md §2.6).", made), func(v object) (any, error) {
		r, err := ParseAgentRecord(v.Encoded)
		if err != nil {
			return nil, err
		}
		return fieldsOfRecord(r), nil
	})
}

func fill(n int, s string) []string { return slices.Repeat([]string{s}, n) }

func refusedRecords(t *testing.T, key PrivateKey, raw, bundle []byte) map[string]refused {
	signed := func(change func(b []byte)) []byte { return resign(t, key, TagAgentRecord, raw, change) }
	// lists writes a record anew with other lists and another bundle in it.
	lists := func(bundle []byte, relays, peers, addresses []string) []byte {
		w := wire.NewWriter(4096)
		w.Fixed(raw[:77])
		w.List(relays)
		w.List(peers)
		w.List(addresses)
		w.LP16(bundle)
		w.Fixed(key.Sign(TagAgentRecord, w.Bytes()))
		return w.Bytes()
	}
	other := testKey(t, 2)
	otherName, otherKey := other.AMID(), other.Public()
	long := strings.Repeat("x", 101)
	return map[string]refused{
		"version 2":                          {signed(func(b []byte) { b[0] = 2 }), wire.ErrMalformed},
		"under another name":                 {signed(func(b []byte) { copy(b[1:], otherName[:]) }), ErrMismatch},
		"with another key":                   {signed(func(b []byte) { copy(b[21:], otherKey[:]) }), ErrMismatch},
		"signed by another":                  {resign(t, other, TagAgentRecord, raw, func([]byte) {}), ErrSignature},
		"signed with another tag":            {resign(t, key, TagBundle, raw, func([]byte) {}), ErrSignature},
		"changed afterwards":                 {flipped(raw, 60), ErrSignature},
		"bundle of another":                  {lists(signedBundle(t, 2), nil, nil, nil), ErrMismatch},
		"bundle changed afterwards":          {lists(flipped(bundle, atPrekey), nil, nil, nil), ErrSignature},
		"bundle cut":                         {lists(bundle[:len(bundle)-1], nil, nil, nil), wire.ErrMalformed},
		"no bundle":                          {lists(nil, nil, nil, nil), wire.ErrMalformed},
		"lives 24 hours and a second":        {signed(func(b []byte) { b[76]++ }), wire.ErrMalformed},
		"ends when it begins":                {signed(func(b []byte) { copy(b[69:77], b[61:69]) }), wire.ErrMalformed},
		"nine relays":                        {lists(bundle, fill(9, "x"), nil, nil), wire.ErrMalformed},
		"nine peer ids":                      {lists(bundle, nil, fill(9, "x"), nil), wire.ErrMalformed},
		"seventeen addresses":                {lists(bundle, nil, nil, fill(17, "x")), wire.ErrMalformed},
		"address of 101 bytes":               {lists(bundle, nil, nil, []string{long}), wire.ErrMalformed},
		"empty relay":                        {lists(bundle, []string{""}, nil, nil), wire.ErrMalformed},
		"empty peer id":                      {lists(bundle, nil, []string{""}, nil), wire.ErrMalformed},
		"control character in a relay":       {lists(bundle, []string{"wss://\x1b[2J"}, nil, nil), wire.ErrMalformed},
		"delete character in an address":     {lists(bundle, nil, nil, []string{"/ip4/\x7f"}), wire.ErrMalformed},
		"peer id that is no UTF-8":           {lists(bundle, nil, []string{"\xff"}, nil), wire.ErrMalformed},
		"a byte short":                       {raw[:len(raw)-1], wire.ErrMalformed},
		"a byte long":                        {append(bytes.Clone(raw), 0), wire.ErrMalformed},
		"length of the bundle says one more": {signed(func(b []byte) { b[len(b)-len(bundle)-1]++ }), wire.ErrMalformed},
	}
}
