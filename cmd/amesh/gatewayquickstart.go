package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"text/tabwriter"

	"amesh/gateway"
	"amesh/gateway/amtp"
	"amesh/gateway/config"
	"amesh/gateway/discovery"
	"amesh/gateway/quickstart"
	"amesh/gateway/signature"
	"amesh/internal/outward"

	"github.com/spf13/cobra"
)

type quickstartOptions struct {
	domain, url, data string
	maxSize           int64
	resolvers, allow  []string
}

func (a *app) gatewayQuickstartCommand() *cobra.Command {
	var o quickstartOptions
	cmd := &cobra.Command{
		Use:   "quickstart",
		Short: "Say which DNS records a domain needs, and look whether they are there",
		Long: `Prints the DNS records that lead other gateways to the one of a domain, and looks at them as
those would: the records, the address, the certificate, and what answers there. What is
missing is named with what to do, and ends in exit 10. Nothing is changed anywhere.`,
		Example: "  amesh gateway quickstart --domain example.com\n" +
			"  amesh gateway quickstart --domain example.com --public-url https://amtp.example.com --json",
		Args: words(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.quickstart(cmd, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.domain, "domain", "", "the gateway's `DOMAIN` (default $AMTP_DOMAIN)")
	f.StringVar(&o.url, "public-url", "", "`URL` of the gateway for others (default https://amtp.DOMAIN)")
	f.StringVar(&o.data, "data", "", "`DIR` of the gateway, with its signing keys (default gateway in the home)")
	f.Int64Var(&o.maxSize, "max-size", config.Defaults("").Message.MaxSize, "the longest message that the gateway takes, in `BYTES`")
	f.StringSliceVar(&o.resolvers, "resolver", nil, "ask the DNS resolver at `ADDR` (repeatable; default those of the system)")
	f.StringSliceVar(&o.allow, "allow", nil, "take addresses of `CIDR` for reachable though they are private (repeatable; for a lab)")
	return cmd
}

// quickstartAnswer is what the verb shows.
type quickstartAnswer struct {
	Domain  string             `json:"domain"`
	Gateway string             `json:"gateway"`
	Records []quickstartRecord `json:"records"`
	Checks  quickstart.Report  `json:"checks"`
	OK      bool               `json:"ok"`
}

type quickstartRecord struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Value string `json:"value"`
	For   string `json:"for"`
	Line  string `json:"line"` // of a zone file
}

func (a *app) quickstart(cmd *cobra.Command, o quickstartOptions) error {
	q, err := a.quickstartConfig(&o)
	if err != nil {
		return withQuickstartUsage(cmd, err)
	}
	records, err := q.Records()
	if err != nil {
		return usagef("%v", err)
	}
	out := quickstartAnswer{Domain: q.Domain, Gateway: q.Record.Gateway}
	for _, r := range records {
		out.Records = append(out.Records, quickstartRecord{r.Name, r.Type, r.Value, r.For, r.String()})
	}
	if !a.json { // the checks may take a while
		writeQuickstartRecords(a.out, out)
	}
	if out.Checks, err = q.Check(cmd.Context()); err != nil {
		return err
	}
	out.OK = out.Checks.OK()
	missing := &failure{exit: exitDegraded, code: "not_ready", message: q.Domain + " cannot be reached by other gateways yet", hint: "do what stands under the checks, then run it again"}
	if a.json && !out.OK {
		missing.data = out
		return missing
	}
	if err := a.show(out, func(w io.Writer) { writeQuickstartChecks(w, out) }); err != nil {
		return err
	}
	if !out.OK {
		return missing
	}
	return nil
}

func withQuickstartUsage(cmd *cobra.Command, err error) error {
	if f, ok := err.(*failure); ok && f.exit == exitUsage {
		return withUsage(cmd, f)
	}
	return err
}

func (a *app) quickstartConfig(o *quickstartOptions) (quickstart.Config, error) {
	var q quickstart.Config
	name := a.firstOf(o.domain, "AMESH_GATEWAY_SERVER_DOMAIN", "AMTP_DOMAIN")
	if name == "" {
		return q, usagef("want --domain DOMAIN")
	}
	var err error
	if q.Domain, err = amtp.ParseDomain(name); err != nil {
		return q, usagef("--domain: %v", err)
	}
	if o.url = a.firstOf(o.url, "AMESH_GATEWAY_SERVER_PUBLIC_URL", "AMTP_SERVER_PUBLIC_URL"); o.url == "" {
		o.url = "https://amtp." + q.Domain
	}
	q.Record = amtp.Record{Version: amtp.Version, Gateway: strings.TrimSuffix(o.url, "/"), MaxSize: o.maxSize, Features: gateway.Features()}
	if o.data == "" {
		o.data = filepath.Join(a.home, "gateway")
	}
	if err := quickstartKey(&q, o.data); err != nil {
		return q, err
	}
	resolver, err := discovery.New(discovery.Config{Domain: "invalid", Own: amtp.Record{Gateway: "https://invalid"}, Resolvers: o.resolvers})
	if err != nil {
		return q, usagef("--resolver: %v", err)
	}
	q.TXT = resolver.TXT
	allowed, err := parsePrefixes("--allow", o.allow)
	if err != nil {
		return q, err
	}
	out := outward.Config{Allowed: allowed, Ports: []uint16{443, 8443}, HTTP: true}
	if len(o.resolvers) > 0 {
		out.Resolver = resolverAt(o.resolvers)
		q.Addresses = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return out.Resolver.LookupNetIP(ctx, "ip", host)
		}
	}
	q.Client, err = outward.New(out)
	return q, err
}

// resolverAt asks the resolvers at addrs, the next one with every try; the system's where
// there is none.
func resolverAt(addrs []string) *net.Resolver {
	if len(addrs) == 0 {
		return nil
	}
	var tries atomic.Uint32
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		addr := addrs[int(tries.Add(1)-1)%len(addrs)]
		if _, err := netip.ParseAddr(addr); err == nil {
			addr = net.JoinHostPort(addr, "53")
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
}

// quickstartKey puts the key that signs into what is to be published, if there is one.
func quickstartKey(q *quickstart.Config, data string) error {
	folder := filepath.Join(data, gatewayKeys)
	if _, err := os.Stat(folder); err != nil {
		return nil // a gateway need not sign, and it may be on another machine
	}
	ring, err := signature.OpenRing(folder)
	if err != nil {
		return explainRing(err)
	}
	for _, k := range ring.Published(q.Domain) {
		if k.Signs {
			q.KeySelector, q.KeyText = k.Selector, k.Text
		}
	}
	return nil
}

func writeQuickstartRecords(w io.Writer, out quickstartAnswer) {
	fmt.Fprintf(w, "Records for the zone of %s:\n", out.Domain)
	for _, r := range out.Records {
		fmt.Fprintf(w, "  %s\n    ; %s\n", plain(r.Line), r.For)
	}
}

func writeQuickstartChecks(w io.Writer, out quickstartAnswer) {
	fmt.Fprintln(w, "Checks:")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range out.Checks {
		fmt.Fprintf(t, "  %s\t%s\t%s\n", f.State, plain(f.Check), plain(f.Found))
		if f.Do != "" {
			fmt.Fprintf(t, "  \t\tdo: %s\n", plain(f.Do))
		}
	}
	_ = t.Flush()
	if out.OK {
		fmt.Fprintf(w, "Other gateways reach %s.\n", out.Domain)
	}
}
