package quickstart

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/discovery"
	"amesh/internal/outward"
)

// Config is what is to be published and how to look at it.
type Config struct {
	// Domain is ours, and Record what its record has to say.
	Domain string
	Record amtp.Record
	// KeyText is the text of the record of our signing key, KeySelector its selector; empty
	// if messages are not signed.
	KeySelector, KeyText string

	// TXT reads TXT records: (*discovery.Resolver).TXT of a resolver that remembers nothing
	// yet.
	TXT func(ctx context.Context, name string) ([]string, time.Duration, error)
	// Addresses resolves the gateway's host; nil asks the system.
	Addresses func(ctx context.Context, host string) ([]netip.Addr, error)
	// Client makes the requests that another gateway would make.
	Client *outward.Client
	// Clock is the time; nil is time.Now.
	Clock func() time.Time
}

// State is what became of a check.
type State string

// The states.
const (
	OK      State = "ok"
	Missing State = "missing" // not there yet
	Wrong   State = "wrong"   // there, and not right
	Unknown State = "unknown" // nobody answered
	Skipped State = "skipped" // it needs what another check missed
)

// Finding is the end of a check.
type Finding struct {
	Check string `json:"check"` // in words, for people
	State State  `json:"state"`
	Found string `json:"found,omitempty"`
	// Do says what helps; empty when nothing has to be done.
	Do string `json:"do,omitempty"`
}

// Report is all findings, in the order in which one depends on the other.
type Report []Finding

// OK reports whether nothing is left to be done.
func (r Report) OK() bool {
	return !slices.ContainsFunc(r, func(f Finding) bool { return f.State != OK })
}

const (
	// wait is the time for one check.
	wait = 15 * time.Second
	// clockSlack is how far two clocks may be apart: beyond it, signed messages look
	// forged or old.
	clockSlack = 30 * time.Second
	// renewBefore is how long before its end a certificate should have a successor.
	renewBefore = 7 * 24 * time.Hour
)

// Check looks at everything. Its error is for a Config that makes no sense.
func (c Config) Check(ctx context.Context) (Report, error) {
	records, err := c.Records()
	if err != nil {
		return nil, err
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Addresses == nil {
		c.Addresses = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	var report Report
	for _, record := range records {
		if record.Type == "TXT" {
			report = append(report, c.checkText(ctx, record))
		} else {
			report = append(report, c.checkAddress(ctx, record))
		}
	}
	return append(report, c.checkGateway(ctx)...), nil
}

// checkText compares a TXT record with what the world sees.
func (c Config) checkText(ctx context.Context, want DNSRecord) Finding {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	name := strings.TrimSuffix(want.Name, ".")
	f := Finding{Check: "TXT record " + name, State: OK}
	texts, _, err := c.TXT(ctx, name)
	switch {
	case errors.Is(err, discovery.ErrNoRecord):
		f.State, f.Found, f.Do = Missing, "there is no such record", "publish it: "+want.String()
		return f
	case err != nil:
		f.State, f.Found, f.Do = Unknown, "the DNS does not answer", "try again, or name resolvers that answer"
		return f
	}
	same := func(text string) bool { return equal(text, want.Value) || leads(text, want.Value) }
	kind, _, _ := strings.Cut(want.Value, ";")
	ours := slices.DeleteFunc(slices.Clone(texts), func(text string) bool { return !strings.HasPrefix(strings.Trim(text, `" `), kind) })
	f.Found = strings.Join(ours, " | ")
	switch {
	case len(ours) == 0:
		f.State, f.Found, f.Do = Missing, "the name has other texts only", "publish it beside them: "+want.String()
	case len(ours) > 1:
		f.State, f.Do = Wrong, "leave one of them, which has to be "+want.String()
	case !same(ours[0]):
		f.State, f.Do = Wrong, "make it "+want.String()+" (a change is seen when the old record's time is over)"
	}
	return f
}

// equal compares records by their pairs: order and spaces do not matter behind the first.
func equal(a, b string) bool { return slices.Equal(pairs(a), pairs(b)) }

// leads reports whether text leads to the gateway of want and says nothing else of it: what
// a gateway can do and takes need not stand in its record.
func leads(text, want string) bool {
	if _, err := amtp.ParseRecord(text); err != nil {
		return false
	}
	all := pairs(want)
	return !slices.ContainsFunc(pairs(text), func(pair string) bool { return !slices.Contains(all, pair) })
}

// pairs are the pairs of a record, sorted.
func pairs(text string) []string {
	var list []string
	for pair := range strings.SplitSeq(strings.Trim(text, `" `), ";") {
		key, value, _ := strings.Cut(pair, "=")
		if key, value = strings.TrimSpace(key), strings.TrimSpace(value); key != "" {
			list = append(list, key+"="+strings.TrimSuffix(value, "/"))
		}
	}
	slices.Sort(list)
	return list
}

// checkAddress looks whether the gateway's host leads somewhere that others may contact.
func (c Config) checkAddress(ctx context.Context, want DNSRecord) Finding {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	host := strings.TrimSuffix(want.Name, ".")
	f := Finding{Check: "address of " + host, State: OK}
	ips, err := c.Addresses(ctx, host)
	if dnsErr, ok := errors.AsType[*net.DNSError](err); err != nil && (!ok || !dnsErr.IsNotFound) {
		f.State, f.Found, f.Do = Unknown, "the DNS does not answer", "try again"
		return f
	}
	if len(ips) == 0 {
		f.State, f.Found, f.Do = Missing, "the name has no address", "publish an A or AAAA record of "+host+" with the public address of this gateway"
		return f
	}
	var list []string
	for _, ip := range ips {
		list = append(list, ip.Unmap().String())
		target := url.URL{Scheme: "https", Host: netip.AddrPortFrom(ip.Unmap(), 443).String()}
		if c.Client.CheckURL(&target) != nil {
			f.State, f.Do = Wrong, "publish the address under which the internet reaches this gateway: others do not contact "+ip.Unmap().String()
		}
	}
	f.Found = strings.Join(list, ", ")
	return f
}

// checkGateway asks the gateway what another one would ask, and looks at the connection.
func (c Config) checkGateway(ctx context.Context) Report {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	health := Finding{Check: "gateway at " + c.Record.Gateway, State: OK}
	certificate := Finding{Check: "certificate", State: OK}
	same := Finding{Check: "capabilities", State: OK}
	clock := Finding{Check: "clock", State: OK}
	skip := func(list ...*Finding) {
		for _, f := range list {
			f.State, f.Found = Skipped, "the gateway has to answer first"
		}
	}
	began := c.Clock()
	resp, body, err := c.get(ctx, "/health")
	switch {
	case err != nil && isCertificate(err):
		skip(&same, &clock)
		certificate.State, certificate.Found, certificate.Do = whatFailed(err)
		health.State, health.Found = Skipped, "its certificate has to be valid first"
		return Report{health, certificate, same, clock}
	case err != nil:
		skip(&certificate, &same, &clock)
		health.State, health.Found, health.Do = whatFailed(err)
		return Report{health, certificate, same, clock}
	case resp.StatusCode != http.StatusOK || !isHealth(body):
		health.State, health.Found = Wrong, fmt.Sprintf("status %d from /health, and not what a gateway answers", resp.StatusCode)
		health.Do = "look what else listens there: the URL has to lead to this gateway, through any proxy, without a redirect"
		skip(&same)
	default:
		health.Found = "it answers"
		same = c.checkCapabilities(ctx, same)
	}
	return Report{health, c.checkCertificate(resp, certificate), same, checkClock(resp, began, c.Clock(), clock)}
}

// get asks the gateway, and returns the answer with what it says.
func (c Config) get(ctx context.Context, path string) (*http.Response, []byte, error) {
	resp, err := c.Client.Get(ctx, strings.TrimSuffix(c.Record.Gateway, "/")+path)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it was read, or is not believed
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

func isHealth(body []byte) bool {
	var h struct {
		Healthy *bool   `json:"healthy"`
		Version *string `json:"version"`
	}
	return json.Unmarshal(body, &h) == nil && h.Healthy != nil && h.Version != nil && *h.Version == amtp.Version
}

// isCertificate reports whether a connection failed for the other side's certificate.
func isCertificate(err error) bool {
	_, verification := errors.AsType[*tls.CertificateVerificationError](err)
	_, host := errors.AsType[x509.HostnameError](err)
	_, authority := errors.AsType[x509.UnknownAuthorityError](err)
	return verification || host || authority
}

// whatFailed says why nothing came back.
func whatFailed(err error) (state State, found, do string) {
	if blocked, ok := errors.AsType[*outward.BlockedError](err); ok {
		return Wrong, blocked.Error(), "give the gateway a public address and port 443: other gateways refuse to contact this one"
	}
	if isCertificate(err) {
		return Wrong, cause(err), "get a certificate for the gateway's host (--acme does it alone, on port 443), or give tls.cert_file the whole chain"
	}
	if dnsErr, ok := errors.AsType[*net.DNSError](err); ok {
		return Missing, "its host " + dnsErr.Name + " has no address", "publish the address record"
	}
	if wait, ok := errors.AsType[net.Error](err); ok && wait.Timeout() {
		return Missing, "no answer", "open port 443 to it in firewall and router; from inside a network it may work from outside only"
	}
	return Missing, "no connection: " + cause(err), "start the gateway, and let port 443 of its host lead to it"
}

// cause is the innermost text of an error, which has neither URL nor addresses.
func cause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

// checkCertificate looks at how long the certificate lasts, and how old the TLS is.
func (c Config) checkCertificate(resp *http.Response, f Finding) Finding {
	if resp.TLS == nil || len(resp.TLS.PeerCertificates) == 0 {
		f.State, f.Found, f.Do = Wrong, "the gateway's URL is http://", "serve https://: other gateways take nothing else"
		return f
	}
	end := resp.TLS.PeerCertificates[0].NotAfter
	f.Found = fmt.Sprintf("valid until %s, %s", end.UTC().Format(time.DateOnly), tls.VersionName(resp.TLS.Version))
	if end.Sub(c.Clock()) < renewBefore {
		f.State, f.Do = Wrong, "renew it: it ends in less than a week"
	}
	return f
}

// checkCapabilities looks whether the gateway speaks for our domain.
func (c Config) checkCapabilities(ctx context.Context, f Finding) Finding {
	resp, body, err := c.get(ctx, "/v1/capabilities/"+url.PathEscape(c.Domain))
	if err != nil {
		f.State, f.Found, f.Do = whatFailed(err)
		return f
	}
	var said struct {
		Gateway string `json:"gateway"`
	}
	switch {
	case resp.StatusCode == http.StatusNotFound:
		f.State, f.Found = Wrong, "the gateway does not know "+c.Domain
		f.Do = "start it with AMTP_DOMAIN=" + c.Domain
	case resp.StatusCode != http.StatusOK || json.Unmarshal(body, &said) != nil:
		f.State, f.Found, f.Do = Wrong, fmt.Sprintf("status %d", resp.StatusCode), "look into the gateway's log"
	case strings.TrimSuffix(said.Gateway, "/") != strings.TrimSuffix(c.Record.Gateway, "/"):
		f.State, f.Found = Wrong, "it says it is reached at "+said.Gateway
		f.Do = "configure the same URL here and there"
	default:
		f.Found = "it speaks for " + c.Domain
	}
	return f
}

// checkClock compares our time with the gateway's.
func checkClock(resp *http.Response, began, ended time.Time, f Finding) Finding {
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		f.State, f.Found, f.Do = Unknown, "the gateway does not say its time", "look whether a proxy in front of it takes the header Date away"
		return f
	}
	f.Found = "both clocks agree"
	// The header has whole seconds.
	if date.Before(began.Add(-clockSlack-time.Second)) || date.After(ended.Add(clockSlack)) {
		f.State, f.Found = Wrong, fmt.Sprintf("this machine and the gateway are %s apart", date.Sub(ended).Abs().Round(time.Second))
		f.Do = "set the clock of the one that is wrong, by NTP: signatures and ids carry the time"
	}
	return f
}
