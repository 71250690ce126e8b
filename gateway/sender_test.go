package gateway

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/auth"
	"amesh/gateway/signature"
	"amesh/gateway/store"
)

// Every way to prove something, for every sender that it does not prove (T86, checklist 94).
func TestSenderProvesItsOwnNameT86(t *testing.T) {
	h := newHouse(t, nil)
	bearer := func(key string) []string { return []string{"Authorization", "Bearer " + key} }
	unverified := certificate("south.test")
	unverified.VerifiedChains = nil
	const (
		none     = amtp.Code("")
		required = amtp.CodeLocalSenderAuthRequired
		mismatch = amtp.CodeSenderCredentialMismatch
		foreign  = amtp.CodeSenderDomainMismatch
	)
	for _, c := range []struct {
		name    string
		sender  string
		state   *tls.ConnectionState
		headers []string
		want    amtp.Code
		origin  string
		method  string
		known   bool
	}{
		{"ann with her key", "Ann@north.test", nil, bearer(h.ann), none, "north.test", "agent_key", true},
		{"ann in other letters", "ann@NORTH.test", nil, bearer(h.ann), none, "north.test", "agent_key", true},
		{"ann with our client's key", "Ann@north.test", nil, bearer(h.ours), none, "north.test", "apikey", true},
		{"ann with our client's key in its header", "Ann@north.test", nil, []string{"X-API-Key", h.ours}, none, "north.test", "apikey", true},
		{"ann with nothing", "Ann@north.test", nil, nil, required, "", "", false},
		{"ann with basic auth", "Ann@north.test", nil, []string{"Authorization", "Basic abc"}, required, "", "", false},
		{"ann with an empty bearer", "Ann@north.test", nil, bearer(""), required, "", "", false},
		{"ann with two bearers", "Ann@north.test", nil, append(bearer(h.ann), bearer(h.bob)...), required, "", "", false},
		{"ann with bob's key", "Ann@north.test", nil, bearer(h.bob), mismatch, "", "", false},
		{"ann with nobody's key", "Ann@north.test", nil, bearer("nope"), mismatch, "", "", false},
		{"ann with south's key", "Ann@north.test", nil, bearer(h.south), mismatch, "", "", false},
		{"ann with the admin key", "Ann@north.test", nil, []string{"X-Admin-Key", adminKey}, required, "", "", false},
		{"ann with the admin key beside hers", "Ann@north.test", nil, append(bearer(h.ann), "X-Admin-Key", adminKey), none, "north.test", "agent_key", true},
		{"ann with the admin key beside bob's", "Ann@north.test", nil, append(bearer(h.bob), "X-Admin-Key", adminKey), mismatch, "", "", false},
		{"ann with the admin key as hers", "Ann@north.test", nil, bearer(adminKey), mismatch, "", "", false},
		{"ann with a wrong admin key", "Ann@north.test", nil, []string{"X-Admin-Key", "nope"}, mismatch, "", "", false},
		{"ann from south's gateway", "Ann@north.test", certificate("south.test"), nil, required, "", "", false},
		{"ann with a key that has expired", "Ann@north.test", nil, bearer(h.over), amtp.CodeTokenExpired, "", "", false},
		{"a name that nobody has, with ann's key", "carol@north.test", nil, bearer(h.ann), mismatch, "", "", false},

		{"south with nothing", "sam@south.test", nil, nil, none, "unverified:south.test", "", false},
		{"south with its certificate", "sam@south.test", certificate("south.test"), nil, none, "south.test", "mtls", true},
		{"south with its gateway's certificate", "sam@south.test", certificate("gw.south.test"), nil, none, "south.test", "mtls", true},
		{"south with its key", "sam@south.test", nil, bearer(h.south), none, "south.test", "apikey", true},
		{"south with an unverified certificate", "sam@south.test", unverified, nil, none, "unverified:south.test", "", false},
		{"west with south's certificate", "wes@west.test", certificate("south.test"), nil, foreign, "", "", false},
		{"west with south's gateway's certificate", "wes@west.test", certificate("gw.south.test"), nil, foreign, "", "", false},
		{"west with a certificate for all", "wes@west.test", certificate("*.test"), nil, none, "unverified:west.test", "", false},
		{"west with south's key", "wes@west.test", nil, bearer(h.south), foreign, "", "", false},
		{"west with ann's key", "wes@west.test", nil, bearer(h.ann), foreign, "", "", false},
		{"west with nobody's key", "wes@west.test", nil, bearer("nope"), amtp.CodeInvalidCredentials, "", "", false},
		{"south with a key to read", "sam@south.test", nil, bearer(h.reader), amtp.CodeAccessDenied, "", "", false},
		{"south with a key that has expired", "sam@south.test", nil, bearer(h.over), amtp.CodeTokenExpired, "", "", false},
		{"south with the admin key", "sam@south.test", nil, []string{"X-Admin-Key", adminKey}, none, "unverified:south.test", "", false},
		{"south with the admin key beside its own", "sam@south.test", nil, append(bearer(h.south), "X-Admin-Key", adminKey), none, "south.test", "apikey", true},
		{"a domain below south with its key", "sam@a.south.test", nil, bearer(h.south), foreign, "", "", false},
		{"a domain without a gateway", "eve@nowhere.test", nil, nil, none, "unverified:nowhere.test", "", false},
	} {
		got, err := h.judge(c.sender, c.state, c.headers...)
		if code(t, err) != c.want {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
			continue
		}
		if err != nil {
			continue
		}
		method := ""
		if got.verification != nil && got.verification.Result == amtp.Authenticated {
			method = got.verification.Method
		}
		if got.origin != c.origin || method != c.method || got.known != c.known || got.proven() != (c.method != "") {
			t.Errorf("%s: origin %q, method %q, known %v, proven %v", c.name, got.origin, method, got.known, got.proven())
		}
	}
}

// T86: of a thousand gateways that show something and name somebody, those only are let in as
// somebody who named whom they proved to be.
func TestNobodyIsTakenForAnotherDomainT86(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.Rates.Off = true })
	locals := []string{"Ann", "bob", "sam", "Sam", "carol"}
	domains := []string{"north.test", "south.test", "west.test", "a.south.test", "xsouth.test", "gw.south.test", "north.test.evil.test"}
	keys := map[string]string{h.ann: "north.test", h.bob: "north.test", h.ours: "north.test", h.south: "south.test", "": "", "nope": ""}
	certified := map[string]string{"south.test": "south.test", "gw.south.test": "south.test", "west.test": "west.test", "*.test": "", "": ""}
	cases := 0
	for key, ofKey := range keys {
		for name, ofName := range certified {
			for _, local := range locals {
				for _, domain := range domains {
					cases++
					var state *tls.ConnectionState
					if name != "" {
						state = certificate(name)
					}
					var headers []string
					if key != "" {
						headers = []string{"Authorization", "Bearer " + key}
					}
					got, err := h.judge(local+"@"+domain, state, headers...)
					if err != nil || !got.proven() {
						if err == nil && got.origin != "unverified:"+domain {
							t.Errorf("%s@%s without proof has origin %s", local, domain, got.origin)
						}
						continue
					}
					byKey := ofKey == domain && (key != h.ann || local == "Ann") && (key != h.bob || local == "bob")
					byName := domain != "north.test" && (ofName == domain || name == domain)
					if got.origin != domain || !byKey && !byName {
						t.Errorf("%s@%s is let in as %s with a key of %q and a certificate of %q", local, domain, got.origin, ofKey, name)
					}
				}
			}
		}
	}
	if cases < 1000 {
		t.Errorf("only %d", cases)
	}
}

// What comes from the address of a domain's gateway makes it known, and proves nothing.
func TestAddressOfAGatewayProvesNothing(t *testing.T) {
	h := newHouse(t, nil)
	r := h.asks(written("wes@west.test"), nil)
	r.from = netip.MustParseAddr("192.0.2.7")
	m, err := amtp.Parse(r.raw, h.cfg.rules(h.now))
	if err != nil {
		t.Fatal(err)
	}
	got, err := h.standing(r, m)
	if err != nil || !got.known || got.proven() || got.origin != "unverified:west.test" || got.verification.Method != "address" || got.verification.Result != amtp.Unsigned {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestLocalSendersAsTheOperatorWants(t *testing.T) {
	for _, c := range []struct {
		name    string
		policy  LocalSenders
		require bool
		key     func(*house) string
		want    amtp.Code
		result  amtp.Result
	}{
		{"off, nothing shown", NoKey, false, func(*house) string { return "" }, "", ""},
		{"off, another one's key", NoKey, false, func(h *house) string { return h.bob }, "", ""},
		{"off, nobody's key", NoKey, false, func(*house) string { return "nope" }, "", ""},
		{"off, her key", NoKey, false, func(h *house) string { return h.ann }, "", amtp.Authenticated},
		{"off, but all must show something", NoKey, true, func(*house) string { return "" }, amtp.CodeAuthenticationRequired, ""},
		{"off, all must show something, another one's key", NoKey, true, func(h *house) string { return h.bob }, amtp.CodeSenderCredentialMismatch, ""},
		{"flag, nothing shown", FlagKey, false, func(*house) string { return "" }, "", amtp.TrustedInternal},
		{"flag, her key", FlagKey, false, func(h *house) string { return h.ann }, "", amtp.Authenticated},
		{"flag, another one's key", FlagKey, false, func(h *house) string { return h.bob }, amtp.CodeSenderCredentialMismatch, ""},
		{"require, nothing shown", RequireKey, false, func(*house) string { return "" }, amtp.CodeLocalSenderAuthRequired, ""},
	} {
		h := newHouse(t, func(cfg *Config) { cfg.Auth.LocalSenders, cfg.Auth.Require = c.policy, c.require })
		var headers []string
		if key := c.key(h); key != "" {
			headers = []string{"Authorization", "Bearer " + key}
		}
		got, err := h.judge("Ann@north.test", nil, headers...)
		if code(t, err) != c.want {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var result amtp.Result
		if got.verification != nil {
			result = got.verification.Result
		}
		if result != c.result || err == nil && got.origin != "north.test" {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// require_auth and its methods are what they say.
func TestOnlyTheMethodsOfTheListCount(t *testing.T) {
	for _, c := range []struct {
		name    string
		methods []auth.Method
		state   *tls.ConnectionState
		key     bool
		want    amtp.Code
	}{
		{"nothing shown", nil, nil, false, amtp.CodeAuthenticationRequired},
		{"a key", nil, nil, true, ""},
		{"a certificate", nil, certificate("south.test"), false, ""},
		{"a key where only certificates count", []auth.Method{auth.ByCertificate}, nil, true, amtp.CodeInvalidCredentials},
		{"a key where only tokens count", []auth.Method{auth.ByOAuth}, nil, true, amtp.CodeInvalidCredentials},
		{"a certificate where only keys count", []auth.Method{auth.ByAPIKey}, certificate("south.test"), false, amtp.CodeAuthenticationRequired},
		{"a foreign certificate where only keys count", []auth.Method{auth.ByAPIKey}, certificate("west.test"), true, ""},
	} {
		h := newHouse(t, func(cfg *Config) { cfg.Auth.Require, cfg.Auth.Methods = true, c.methods })
		var headers []string
		if c.key {
			headers = []string{"Authorization", "Bearer " + h.south}
		}
		if _, err := h.judge("sam@south.test", c.state, headers...); code(t, err) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestSignatureAndPolicy(t *testing.T) {
	key, err := signature.Generate("k1")
	if err != nil {
		t.Fatal(err)
	}
	unsigned := fmt.Sprintf(`{"version":"1.0","message_id":%q,"idempotency_key":%q,"timestamp":"2026-11-20T09:00:00Z","sender":"sam@south.test","recipients":["bob@north.test"],"payload":{"n":1}}`,
		amtp.NewMessageID(time.Now()), amtp.NewKey())
	signed, err := key.Sign([]byte(unsigned))
	if err != nil {
		t.Fatal(err)
	}
	forged := strings.Replace(string(signed), `"n":1`, `"n":2`, 1)
	for _, c := range []struct {
		name   string
		policy signature.Policy
		body   string
		state  *tls.ConnectionState
		want   amtp.Code
		result amtp.Result
		origin string
	}{
		{"signed", signature.Reject, string(signed), nil, "", amtp.Verified, "south.test"},
		{"not signed", signature.Flag, unsigned, nil, "", amtp.Unsigned, "unverified:south.test"},
		{"not signed, rejected", signature.Reject, unsigned, nil, amtp.CodeSignatureRequired, "", ""},
		{"not signed, but certified", signature.Reject, unsigned, certificate("south.test"), "", amtp.Authenticated, "south.test"},
		{"not signed, nobody asks", signature.Accept, unsigned, nil, "", "", "unverified:south.test"},
		{"forged", signature.Flag, forged, nil, "", amtp.Invalid, "unverified:south.test"},
		{"forged, rejected", signature.Reject, forged, nil, amtp.CodeSignatureInvalid, "", ""},
		{"forged, rejected though certified", signature.Reject, forged, certificate("south.test"), amtp.CodeSignatureInvalid, "", ""},
		{"signed, brought by another one's gateway", signature.Reject, string(signed), certificate("west.test"), "", amtp.Verified, "south.test"},
		{"forged, brought by another one's gateway", signature.Flag, forged, certificate("west.test"), amtp.CodeSenderDomainMismatch, "", ""},
		{"not signed, brought by another one's gateway", signature.Accept, unsigned, certificate("west.test"), amtp.CodeSenderDomainMismatch, "", ""},
	} {
		h := newHouse(t, func(cfg *Config) {
			cfg.Auth.Verify = c.policy
			cfg.Discovery.MockRecords["k1._amtpkey.south.test"] = key.Record()
		})
		r := h.asks(c.body, c.state)
		m, err := amtp.Parse(r.raw, h.cfg.rules(h.now))
		if err != nil {
			t.Fatal(err)
		}
		got, err := h.standing(r, m)
		if code(t, err) != c.want {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var result amtp.Result
		if got.verification != nil {
			result = got.verification.Result
		}
		if err == nil && (result != c.result || got.origin != c.origin) {
			t.Errorf("%s: %+v %+v", c.name, got, got.verification)
		}
	}
}

// T87: a block counts for the domain and all below it.
func TestBlockedDomainIsRefusedT87(t *testing.T) {
	h := newHouse(t, nil)
	h.lists.domains = []store.Domain{
		{Name: "south.test", State: store.DomainBlocked}, {Name: "good.south.test", State: store.DomainKnown}, {Name: "west.test", State: store.DomainKnown},
	}
	if err := h.parts.Load().domains.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	for sender, want := range map[string]amtp.Code{
		"sam@south.test": amtp.CodeDomainBlocked, "sam@a.b.south.test": amtp.CodeDomainBlocked, "sam@good.south.test": "",
		"sam@xsouth.test": "", "wes@west.test": "",
	} {
		got, err := h.judge(sender, certificateOf(sender))
		if code(t, err) != want {
			t.Errorf("%s: %v", sender, err)
		}
		if sender == "wes@west.test" && !got.known {
			t.Error("a domain on the operator's list is not known")
		}
	}
}

// certificateOf proves the domain of south.test's senders: a proof does not lift a block.
func certificateOf(sender string) *tls.ConnectionState {
	if _, domain, _ := strings.Cut(sender, "@"); strings.HasSuffix(domain, "south.test") {
		return certificate(domain)
	}
	return nil
}
