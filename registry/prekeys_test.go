package registry

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"amesh/identity"
	"amesh/registry/db/dbtest"
	"amesh/registry/wire"
)

func TestPrekeys(t *testing.T)             { dbtest.SQLite(t, prekeyCases) }
func TestWithPostgresPrekeys(t *testing.T) { dbtest.Postgres(t, prekeyCases) }

var prekeyCases = dbtest.Cases{
	"a one-time key is in one bundle":                testHandedOut,
	"a key is handed out once under whatever id":     testKeyUnderOtherIDs,
	"T67 takers at once get different keys":          testTakersAtOnce,
	"an unsigned prekey replaces no signed one":      testUnsignedPrekey,
	"signature and keys are verified":                testPrekeysVerified,
	"uploads and what is stored are bounded":         testPrekeyCaps,
	"new keys under old ids replace the lost":        testLostKeys,
	"draining is slow":                               testDraining,
	"the last upload counts, not the highest number": testLastUploadCounts,
	"a key that was handed out is forgotten late":    testForgotten,
}

// prekeyOf is an X25519 key for a number.
func prekeyOf(n int) [32]byte { return [32]byte{9, byte(n), byte(n >> 8)} }

// upload is a body of prekeys with one-time keys from to to.
func upload(key identity.PrivateKey, id, from, to int) object {
	signed := prekeyOf(10_000 + id)
	oneTime := []object{}
	for n := from; n <= to; n++ {
		k := prekeyOf(n)
		oneTime = append(oneTime, object{"id": n, "key": b64(k[:])})
	}
	return object{
		"amid": key.AMID().String(), "signed_prekey": b64(signed[:]), "signed_prekey_id": id,
		"signed_prekey_signature": b64(key.SignPrekey(signed)), "one_time_prekeys": oneTime,
	}
}

// generous limits are out of the way of tests that are not about them.
func generous(c *Config) {
	c.Limits = DefaultLimits()
	c.Limits.AddressBurst, c.Limits.PrekeyBurst, c.Limits.DrainBurst, c.Limits.AgentBurst = 100_000, 100_000, 100_000, 100_000
}

// taken is the id of the one-time key in a bundle, 0 if there is none.
func (h *harness) taken(key identity.PrivateKey) int {
	h.t.Helper()
	a := h.get("/v1/registry/prekeys/" + key.AMID().String()).want(200)
	one, _ := a.body["one_time_prekey"].(map[string]any)
	id, _ := one["id"].(float64)
	if list, _ := a.body["one_time_prekeys"].([]any); (id != 0) != (len(list) == 1) {
		h.t.Fatalf("singular and plural differ: %s", a.raw)
	}
	return int(id)
}

func testHandedOut(t *testing.T, url string) {
	h := start(t, url, generous)
	key := testKey(t, 1)
	path := "/v1/registry/prekeys/" + key.AMID().String()
	h.get(path).want(404).has(object{"error": "Agent not found"})
	h.register(key, byTimestamp)
	h.get(path).want(404).has(object{"error": "No prekeys available for this agent"})
	h.post("/v1/registry/prekeys", key, byTimestamp, upload(key, 1, 1, 3)).want(200).
		has(object{"success": true, "signed_prekey_id": 1, "one_time_prekeys_stored": 3, "one_time_prekeys_available": 3})
	signed, first := prekeyOf(10_001), prekeyOf(1)
	h.get("/v1/registry/prekeys/did:agentmesh:" + key.AMID().String()).want(200).has(object{
		"identity_key": exchangeKey(0), "signed_prekey": b64(signed[:]), "signed_prekey_signature": b64(key.SignPrekey(signed)),
		"signed_prekey_id": 1, "one_time_prekey": object{"id": 1, "key": b64(first[:])},
		"one_time_prekeys": []object{{"id": 1, "key": b64(first[:])}},
	})
	head, err := http.Head(h.url + path)
	if err != nil {
		t.Fatal(err)
	}
	if _ = head.Body.Close(); head.StatusCode != http.StatusOK {
		t.Errorf("HEAD: %d", head.StatusCode)
	}
	for _, want := range []int{2, 3, 0, 0} { // HEAD used up none
		if got := h.taken(key); got != want {
			t.Errorf("one-time key %d, want %d", got, want)
		}
	}
	// The same keys again stay handed out; new ones are there.
	h.post("/v1/registry/prekeys", key, byTimestamp, upload(key, 1, 2, 5)).want(200).
		has(object{"one_time_prekeys_stored": 4, "one_time_prekeys_available": 2})
	if got := h.taken(key); got != 4 {
		t.Errorf("one-time key %d, want 4", got)
	}
}

func testKeyUnderOtherIDs(t *testing.T, url string) {
	h := start(t, url, generous)
	key := testKey(t, 1)
	h.register(key, byTimestamp)
	put := func(id, n, free int) {
		t.Helper()
		body, k := upload(key, 1, 1, 0), prekeyOf(n)
		body["one_time_prekeys"] = []object{{"id": id, "key": b64(k[:])}}
		h.post("/v1/registry/prekeys", key, byTimestamp, body).want(200).has(object{"one_time_prekeys_available": free})
	}
	put(1, 1, 1)
	put(3, 1, 1) // moved
	if got := h.taken(key); got != 3 {
		t.Fatalf("one-time key %d, want 3", got)
	}
	put(2, 1, 0)
	put(3, 2, 1)
	put(3, 1, 0) // what is under this id now is no key of 2 any more
	if got := h.taken(key); got != 0 {
		t.Errorf("one-time key %d once more", got)
	}
	// What was handed out stays so when all else is removed.
	h.register(key, strictly)
	h.post("/v1/registry/prekeys", key, strictly, upload(key, 1, 1, 2)).want(200).has(object{"one_time_prekeys_available": 1})
	if got := h.taken(key); got != 2 {
		t.Errorf("one-time key %d, want 2", got)
	}
}

// Two registries over one database, and many who ask: no key twice, none lost.
func testTakersAtOnce(t *testing.T, url string) {
	h, other := start(t, url, generous), start(t, url, generous)
	key := testKey(t, 1)
	h.register(key, strictly)
	const keys, takers = 40, 8
	h.post("/v1/registry/prekeys", key, strictly, upload(key, 1, 1, keys)).want(200)
	var mu sync.Mutex
	var got []int
	var wg sync.WaitGroup
	for n := range takers {
		at := []*harness{h, other}[n%2]
		wg.Go(func() {
			for range keys / takers {
				id := at.taken(key)
				mu.Lock()
				got = append(got, id)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(got)
	for i, id := range got {
		if id != i+1 {
			t.Fatalf("handed out %v", got)
		}
	}
	if id := h.taken(key); id != 0 {
		t.Errorf("one more key: %d", id)
	}
}

func testUnsignedPrekey(t *testing.T, url string) {
	h := start(t, url, generous)
	key := testKey(t, 1)
	h.register(key, byTimestamp)
	path := "/v1/registry/prekeys/" + key.AMID().String()
	bare := upload(key, 7, 1, 0)
	bare["signed_prekey_signature"] = ""
	h.post("/v1/registry/prekeys", key, byTimestamp, bare).want(200).has(object{"success": true})
	h.get(path).want(404)
	h.post("/v1/registry/prekeys", key, byTimestamp, upload(key, 1, 1, 1)).want(200)
	h.post("/v1/registry/prekeys", key, byTimestamp, bare).want(200)
	h.get(path).want(200).has(object{"signed_prekey_id": 1})
}

func testPrekeysVerified(t *testing.T, url string) {
	h := start(t, url, generous)
	key := testKey(t, 1)
	h.register(key, strictly)
	h.post("/v1/registry/prekeys", key, strictly, upload(key, 1, 1, 2)).want(200)
	zero := b64(make([]byte, 32))
	foreign := upload(testKey(t, 2), 2, 1, 0)["signed_prekey_signature"]
	for name, c := range map[string]struct {
		member string
		value  any
	}{
		"another's signature":   {"signed_prekey_signature", foreign},
		"no signature":          {"signed_prekey_signature", "signature"},
		"low order":             {"signed_prekey", zero},
		"negative id":           {"signed_prekey_id", -1},
		"id too large":          {"signed_prekey_id", 1 << 31},
		"one-time of low order": {"one_time_prekeys", []object{{"id": 9, "key": zero}}},
		"one-time not 32 bytes": {"one_time_prekeys", []object{{"id": 9, "key": "AAAA"}}},
		"one-time id twice":     {"one_time_prekeys", []object{{"id": 9, "key": exchangeKey(0)}, {"id": 9, "key": exchangeKey(1)}}},
		"one-time key twice":    {"one_time_prekeys", []object{{"id": 9, "key": exchangeKey(0)}, {"id": 10, "key": exchangeKey(0)}}},
		"one-time id negative":  {"one_time_prekeys", []object{{"id": -9, "key": exchangeKey(0)}}},
		"one-time id of text":   {"one_time_prekeys", []object{{"id": "9", "key": exchangeKey(0)}}},
	} {
		body := upload(key, 2, 3, 4)
		body[c.member] = c.value
		if a := h.post("/v1/registry/prekeys", key, strictly, body); a.status != 400 {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	h.get("/v1/registry/prekeys/" + key.AMID().String()).want(200).has(object{"signed_prekey_id": 1})
	if got := []int{h.taken(key), h.taken(key)}; got[0] != 2 || got[1] != 0 {
		t.Errorf("a refused upload left one-time keys: %v", got)
	}
}

func testPrekeyCaps(t *testing.T, url string) {
	h := start(t, url, generous, func(c *Config) { c.Limits.PrekeysPerUpload, c.Limits.PrekeysStored = 10, 15 })
	key := testKey(t, 1)
	h.register(key, strictly)
	h.post("/v1/registry/prekeys", key, strictly, upload(key, 1, 1, 11)).want(400).code(wire.CodeInvalid)
	h.post("/v1/registry/prekeys", key, strictly, upload(key, 1, 1, 10)).want(200)
	h.post("/v1/registry/prekeys", key, strictly, upload(key, 2, 11, 16)).want(400).code(wire.CodeInvalid)
	h.get("/v1/registry/prekeys/" + key.AMID().String()).want(200).has(object{"signed_prekey_id": 1})
	// One was taken: there is room for six now.
	h.post("/v1/registry/prekeys", key, strictly, upload(key, 1, 11, 16)).want(200).has(object{"one_time_prekeys_available": 15})
}

func testLostKeys(t *testing.T, url string) {
	h := start(t, url, generous)
	key := testKey(t, 1)
	h.register(key, strictly)
	h.post("/v1/registry/prekeys", key, strictly, upload(key, 5, 1, 3)).want(200)
	h.taken(key)
	again := upload(key, 1, 1, 0)
	fresh := [][32]byte{{}, prekeyOf(501), prekeyOf(502)}
	again["one_time_prekeys"] = []object{{"id": 1, "key": b64(fresh[1][:])}, {"id": 2, "key": b64(fresh[2][:])}}
	h.post("/v1/registry/prekeys", key, strictly, again).want(200).has(object{"one_time_prekeys_available": 3})
	for _, id := range []int{1, 2} {
		h.get("/v1/registry/prekeys/" + key.AMID().String()).want(200).has(object{
			"signed_prekey_id": 1, "one_time_prekey": object{"id": id, "key": b64(fresh[id][:])}})
	}
}

func testLastUploadCounts(t *testing.T, url string) {
	h := start(t, url, generous)
	key := testKey(t, 1)
	h.register(key, strictly)
	for _, id := range []int{5, 6, 1} {
		h.post("/v1/registry/prekeys", key, strictly, upload(key, id, 1, 0)).want(200)
		h.get("/v1/registry/prekeys/" + key.AMID().String()).want(200).has(object{"signed_prekey_id": id})
	}
}

// One address gets a few keys at once, somebody with many addresses not many more, and
// bundles without for as long as it likes.
func testDraining(t *testing.T, url string) {
	h := start(t, url, generous, func(c *Config) {
		c.Limits.PrekeyBurst, c.Limits.DrainBurst = 3, 5
		c.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	key := testKey(t, 1)
	h.register(key, strictly)
	h.post("/v1/registry/prekeys", key, strictly, upload(key, 1, 1, 50)).want(200)
	got := func(from string, signedBy identity.PrivateKey) bool {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url+"/v1/registry/prekeys/"+key.AMID().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Forwarded-For", from)
		if err := wire.SignRequest(r, nil, signedBy, h.clock.now()); err != nil {
			t.Fatal(err)
		}
		a := h.do(r).want(200)
		return a.body["one_time_prekey"] != nil
	}
	for i, want := range []bool{true, true, true, false, false} {
		if got("192.0.2.1", testKey(t, byte(10+i))) != want {
			t.Errorf("take %d of one address: %v", i+1, !want)
		}
	}
	many := 0
	for i := range 20 {
		if got(fmt.Sprintf("198.51.100.%d", i), testKey(t, byte(20+i))) {
			many++
		}
	}
	if many != 2 {
		t.Errorf("many addresses got %d keys, want 2", many)
	}
	h.clock.pass(10 * time.Second)
	if !got("203.0.113.1", testKey(t, 60)) || got("203.0.113.2", testKey(t, 61)) {
		t.Error("after ten seconds there should be one more key")
	}
}

func testForgotten(t *testing.T, url string) {
	h := start(t, url, generous)
	key := testKey(t, 1)
	h.register(key, strictly)
	h.post("/v1/registry/prekeys", key, strictly, upload(key, 1, 1, 1)).want(200)
	h.taken(key)
	for _, want := range []int{0, 1} {
		h.clock.pass(50 * 24 * time.Hour)
		h.server.sweep(t.Context(), h.server.db.Load())
		h.post("/v1/registry/prekeys", key, strictly, upload(key, 1, 1, 1)).want(200)
		if got := h.taken(key); got != want {
			t.Errorf("one-time key %d, want %d", got, want)
		}
	}
}
