package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"

	"amesh/gateway/client"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// gatewayDefault is the gateway that admins' verbs ask without being told.
const gatewayDefault = "https://localhost:8443"

// adminOptions say which gateway a verb asks, and as whom.
type adminOptions struct {
	url, keyFile, ca string
	agent            bool // the verb is an agent's, not an administrator's
	either           bool // it is both's: the agent's key counts where one is given
	key, agentFile   string
}

// manage adds a verb that asks a gateway with an admin key.
func (a *app) manage(cmd *cobra.Command, run func(cmd *cobra.Command, c *client.Client, args []string) error) *cobra.Command {
	var o adminOptions
	f := cmd.Flags()
	o.flags(f)
	f.StringVar(&o.keyFile, "admin-key-file", "", "`FILE` with the gateway's admin key (default $AMTP_ADMIN_KEY_FILE)")
	return a.asking(cmd, &o, run)
}

// manageAsAgent adds a verb that asks a gateway with an agent's key.
func (a *app) manageAsAgent(cmd *cobra.Command, run func(cmd *cobra.Command, c *client.Client, args []string) error) *cobra.Command {
	o := adminOptions{agent: true}
	f := cmd.Flags()
	o.flags(f)
	f.StringVar(&o.key, "key", "", "the agent's `KEY`; others on this machine may see it, so better --key-file")
	f.StringVar(&o.agentFile, "key-file", "", "`FILE` with the agent's key")
	f.StringVar(&o.keyFile, "admin-key-file", "", "")
	f.Lookup("admin-key-file").Hidden = true // agentry-admin takes it everywhere
	return a.asking(cmd, &o, run)
}

// manageAsEither adds a verb that asks with an agent's key or an admin key.
func (a *app) manageAsEither(cmd *cobra.Command, run func(cmd *cobra.Command, c *client.Client, args []string) error) *cobra.Command {
	o := adminOptions{either: true}
	f := cmd.Flags()
	o.flags(f)
	f.StringVar(&o.keyFile, "admin-key-file", "", "`FILE` with the gateway's admin key (default $AMTP_ADMIN_KEY_FILE)")
	f.StringVar(&o.agentFile, "key-file", "", "`FILE` with the key of an agent that sent or got it, instead")
	return a.asking(cmd, &o, run)
}

func (o *adminOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.url, "url", "", "`URL` of the gateway (default $AMTP_GATEWAY_URL, else "+gatewayDefault+")")
	f.StringVar(&o.url, "gateway-url", "", "")
	f.Lookup("gateway-url").Hidden = true // agentry-admin's name for it
	f.StringVar(&o.ca, "ca", "", "`FILE` with the authority of the gateway's certificate, in PEM (default the system's)")
}

func (a *app) asking(cmd *cobra.Command, o *adminOptions, run func(cmd *cobra.Command, c *client.Client, args []string) error) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.gatewayClient(o)
		if err != nil {
			return err
		}
		defer c.Close()
		return explainGateway(run(cmd, c, args), o)
	}
	return cmd
}

// gatewayClient is a client of the gateway that the options and the environment name.
func (a *app) gatewayClient(o *adminOptions) (*client.Client, error) {
	o.url = a.firstOf(o.url, "AMESH_GATEWAY_URL", "AMTP_GATEWAY_URL")
	if o.url == "" {
		o.url = gatewayDefault
	}
	cfg := client.Config{URL: o.url, AdminHeader: a.firstOf("", "AMESH_GATEWAY_AUTH_ADMIN_API_KEY_HEADER", "AMTP_ADMIN_API_KEY_HEADER")}
	var err error
	if o.agent || o.either && o.agentFile != "" {
		cfg.AgentKey, err = a.agentKey(o)
	} else {
		cfg.AdminKey, err = a.adminKey(o)
	}
	if err != nil {
		return nil, err
	}
	if cfg.Roots, err = readRoots(o.ca); err != nil {
		return nil, err
	}
	c, err := client.New(cfg)
	if err != nil {
		return nil, usagef("--url: %v", err)
	}
	if u, _ := url.Parse(o.url); u.Scheme == "http" && !isLoopback(u.Hostname()) {
		fmt.Fprintf(a.err, "the key goes to %s without encryption: use https:// wherever others can listen\n", plain(u.Host))
	}
	return c, nil
}

func (a *app) firstOf(flag string, variables ...string) string {
	for _, name := range variables {
		if flag == "" {
			flag = a.getenv(name)
		}
	}
	return flag
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// adminKey is the first key of the admin key file. Without a file there is none: the
// gateway then says what it thinks of that.
func (a *app) adminKey(o *adminOptions) (string, error) {
	o.keyFile = a.firstOf(o.keyFile, "AMESH_GATEWAY_AUTH_ADMIN_KEY_FILE", "AMTP_ADMIN_KEY_FILE", "AMTP_AUTH_ADMIN_KEY_FILE")
	if o.keyFile == "" {
		return "", nil
	}
	return firstKey("--admin-key-file", o.keyFile)
}

func (a *app) agentKey(o *adminOptions) (string, error) {
	switch {
	case o.key != "" && o.agentFile != "":
		return "", usagef("--key and --key-file: want one of the two")
	case o.agentFile != "":
		return firstKey("--key-file", o.agentFile)
	}
	if o.key = a.firstOf(o.key, "AMTP_AGENT_KEY"); o.key == "" {
		return "", usagef("an agent shows its key: want --key-file FILE").
			next("the key was shown when the agent was registered; amesh gateway agent rotate-key NAME makes another")
	}
	return o.key, nil
}

// firstKey is the first line of a key file that is neither blank nor a comment.
func firstKey(flag, path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	for line := range strings.Lines(string(raw)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return line, nil
		}
	}
	return "", usagef("%s %s: there is no key in it", flag, path).next("write the key into it, on a line of its own")
}

func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(raw) {
		return nil, usagef("--ca %s: there is no certificate in it", path).next("give the authority's certificate in PEM")
	}
	return roots, nil
}

// gatewayExits are the exit codes of answers that say no.
var gatewayExits = map[int]int{
	http.StatusBadRequest: exitUsage, http.StatusRequestEntityTooLarge: exitUsage, http.StatusUnprocessableEntity: exitUsage,
	http.StatusUnauthorized: exitUnauthorized, http.StatusForbidden: exitUnauthorized,
	http.StatusNotFound: exitNotFound, http.StatusConflict: exitConflict, http.StatusTooManyRequests: exitRefused,
	http.StatusServiceUnavailable: exitDegraded, http.StatusGatewayTimeout: exitTimeout,
}

// gatewayHints are next steps by the gateway's code.
var gatewayHints = map[string]string{
	"ADMIN_AUTH_NOT_CONFIGURED":     "start the gateway with --admin-key-file FILE, and give this verb the same",
	"ADMIN_AUTHENTICATION_REQUIRED": "give --admin-key-file FILE, with a key of the gateway's own file",
	"ADMIN_ACCESS_DENIED":           "the gateway does not know that key: look at the file it was started with",
	"SENDER_CREDENTIAL_MISMATCH":    "give the key of the agent in --from; amesh gateway agent rotate-key NAME makes another",
	"SENDER_DOMAIN_MISMATCH":        "an agent sends as itself: give its own address with --from",
	"MISSING_AUTHORIZATION":         "give --key-file FILE with an agent's key, or --admin-key-file FILE",
	"AGENT_NOT_FOUND":               "amesh gateway agent list names those there are",
	"AGENT_UNREGISTRATION_FAILED":   "amesh gateway agent list names those there are",
	"SCHEMA_NOT_FOUND":              "amesh gateway schema list names those there are",
	"DOMAIN_NOT_FOUND":              "amesh gateway domain list names those there are",
	"ACCESS_DENIED":                 "give the key of this very agent; amesh gateway agent rotate-key NAME makes another",
	"SCHEMA_ALREADY_EXISTS":         "amesh gateway schema update puts another definition in its place",
	"SCHEMA_INCOMPATIBLE":           "register it as the next version, or have it all the same with --force",
	"SCHEMA_MANAGER_UNAVAILABLE":    "start the gateway with schema.registry_type, such as AMTP_SCHEMA_REGISTRY_TYPE=database",
}

// explainGateway says what a verb's error means for the person at the terminal.
func explainGateway(err error, o *adminOptions) error {
	if err == nil {
		return nil
	}
	if no, ok := errors.AsType[*client.Error](err); ok {
		return refusedBy(no)
	}
	f := &failure{exit: exitDaemon, code: "unreachable", message: fmt.Sprintf("no gateway at %s: %v", o.url, reason(err))}
	var record tls.RecordHeaderError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.As(err, &unknown), errors.As(err, &name):
		return f.next("name its authority with --ca FILE, and the gateway by the name in its certificate")
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return f.next("it speaks plain HTTP: try --url http://…")
	case errors.Is(err, syscall.ECONNREFUSED):
		return f.next("start it with amesh gateway, or name another with --url")
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok && !e.IsTimeout {
		return f.next("look at the name in --url")
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		f.exit, f.code = exitTimeout, "timeout"
		return f.next("look whether it runs, and whether something is between here and there")
	}
	return err
}

func refusedBy(no *client.Error) *failure {
	exit, known := gatewayExits[no.Status]
	if !known {
		exit = exitFailed
	}
	// Agentry's code for an agent that there is not.
	if strings.HasSuffix(no.Code, "_NOT_FOUND") || no.Code == "AGENT_UNREGISTRATION_FAILED" {
		exit = exitNotFound
	}
	f := &failure{exit: exit, code: "gateway_refused", message: no.Error(), hint: gatewayHints[no.Code]}
	if no.Code != "" {
		f.code = strings.ToLower(no.Code)
	}
	if no.Code == "" && strings.Contains(no.Message, "HTTP request to an HTTPS server") {
		f.hint = "it speaks TLS: try --url https://…"
	}
	if no.Code == "AGENT_REGISTRATION_FAILED" && strings.Contains(no.Error(), "there is an agent of that name") {
		f.exit, f.hint = exitConflict, "amesh gateway agent update changes the one that is there; rotate-key gives it another key"
	}
	if no.RetryAfter > 0 && f.hint == "" {
		f.hint = fmt.Sprintf("try again in %s", no.RetryAfter)
	}
	if len(no.Details) > 0 {
		f.data = map[string]any{"details": no.Details}
	}
	return f
}

// reason is an error without the request that it came of.
func reason(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
