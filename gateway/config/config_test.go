package config

import (
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// load is Load with an environment.
func load(t *testing.T, file string, env map[string]string, settings ...Setting) (Config, []string, error) {
	t.Helper()
	return Load(Sources{
		File: []byte(file), FileName: "gateway.yaml",
		Getenv: func(name string) string { return env[name] }, Variables: slices.Collect(maps.Keys(env)),
		Settings: settings,
	})
}

func mustLoad(t *testing.T, file string, env map[string]string, settings ...Setting) (Config, []string) {
	t.Helper()
	c, warnings, err := load(t, file, env, settings...)
	if err != nil {
		t.Fatal(err)
	}
	return c, warnings
}

func TestEachSourceBeatsTheOneBeforeIt(t *testing.T) {
	t.Parallel()
	file := "server:\n  address: ':1'\n  domain: file.example\n  read_timeout: 10s\n"
	env := map[string]string{"AMTP_DOMAIN": "env.example", "AMTP_READ_TIMEOUT": "20s"}
	c, _ := mustLoad(t, file, env, Setting{"server.read_timeout", "40s", "--read-timeout"})
	if c.Server.IdleTimeout != 2*time.Minute {
		t.Errorf("default: %s", c.Server.IdleTimeout)
	}
	if c.Server.Address != ":1" || c.Server.Domain != "env.example" || c.Server.ReadTimeout != 40*time.Second {
		t.Errorf("%+v", c.Server)
	}
}

func TestNothingIsOpenByDefault(t *testing.T) {
	t.Parallel()
	c, warnings := mustLoad(t, "", nil)
	if len(warnings) > 0 {
		t.Errorf("warnings: %q", warnings)
	}
	if diff := cmp.Diff(Defaults(""), c); diff != "" {
		t.Errorf("nothing told is not the defaults:\n%s", diff)
	}
	if c.AdminOpenWhenUnconfigured || c.PublicRead || c.LocalSenderAuth != Require || c.UnknownLocal != Reject ||
		c.CORSOrigins != nil || c.DNS.AllowHTTP || !c.TLS.Enabled || c.Outward.AllowPrivate {
		t.Errorf("something is open: %+v", c)
	}
}

func TestCompatChangesDefaultsOnly(t *testing.T) {
	t.Parallel()
	agentry := Setting{"compat.mode", "agentry", "--compat"}
	c, _ := mustLoad(t, "messages: {public_read: false}\n", map[string]string{"AMTP_UNKNOWN_LOCAL": "reject"}, agentry)
	if c.PublicRead || c.UnknownLocal != Reject {
		t.Error("what is said is overridden by the mode")
	}
	if !c.AdminOpenWhenUnconfigured || c.LocalSenderAuth != Off {
		t.Errorf("the mode opens nothing: %+v", c)
	}
	if c, _ := mustLoad(t, "", map[string]string{"AMESH_GATEWAY_COMPAT": "agentry"}); !c.PublicRead {
		t.Error("AMESH_GATEWAY_COMPAT does nothing")
	}
	if c, _ := mustLoad(t, "compat: {mode: agentry}", nil, Setting{"compat.mode", "none", "--compat"}); c.PublicRead || c.Compat.Mode != "" {
		t.Error("none does not beat the file")
	}
}

func TestWrongValuesNameTheirKey(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, file, variable, value, want string }{
		{name: "boolean", variable: "AMTP_TLS_ENABLED", value: "maybe", want: "AMTP_TLS_ENABLED (tls.enabled): want true or false"},
		{name: "number", variable: "AMTP_MESSAGE_MAX_SIZE", value: "10MB", want: "AMTP_MESSAGE_MAX_SIZE (message.max_size): want a number"},
		{name: "no bytes at all", variable: "AMTP_MESSAGE_MAX_SIZE", value: "0", want: "want more than 0"},
		{name: "more bytes than there is room for", variable: "AMTP_MESSAGE_MAX_SIZE", value: "134217729", want: "message.max_size: 134217729: want at most 134217728"},
		{name: "admin keys among the tokens", file: "auth: {admin_api_key_header: authorization}", want: "auth.admin_api_key_header: Authorization is for"},
		{name: "one header for both keys", file: "auth: {api_key_header: x-admin-key}", want: `auth.api_key_header: "x-admin-key" is auth.admin_api_key_header too`},
		{name: "duration", variable: "AMTP_IDEMPOTENCY_TTL", value: "a week", want: "AMTP_IDEMPOTENCY_TTL (message.idempotency_ttl): want a duration"},
		{name: "negative duration", variable: "AMTP_READ_TIMEOUT", value: "-5s", want: "want no less than 0"},
		{name: "records", variable: "AMTP_DNS_MOCK_RECORDS", value: "{secret", want: "AMTP_DNS_MOCK_RECORDS (dns.mock_records): want a JSON object"},
		{name: "records that are null", variable: "AMTP_DNS_MOCK_RECORDS", value: "null", want: "want a JSON object"},
		{name: "one of", variable: "AMTP_SIGNATURE_VERIFY_POLICY", value: "maybe", want: "want accept, flag or reject"},
		{name: "TLS 1.1", file: "tls: {min_version: 1.1}", want: "gateway.yaml: tls.min_version: want 1.2 or 1.3"},
		{name: "bare seconds", file: "server: {read_timeout: 30}", want: "gateway.yaml: server.read_timeout: want a duration with its unit, such as 30s"},
		{name: "number for text", file: "auth: {api_key_salt: 0123}", want: "auth.api_key_salt: want text: write it in quotes"},
		{name: "section that is none", file: "server: example.com", want: "gateway.yaml: server: want a section"},
		{name: "list for one", file: "server: {domain: [a, b]}", want: "server.domain: want text"},
		{name: "no list", file: "dns: {resolvers: 7}", want: "dns.resolvers: want a list"},
		{name: "no YAML", file: "server: [", want: "gateway.yaml"},
		{name: "underscore", variable: "AMTP_DOMAIN", value: "my_domain.example", want: "server.domain"},
		{name: "edge dash", variable: "AMTP_DOMAIN", value: "-a.example", want: "no dash at an end"},
		{name: "long label", variable: "AMTP_DOMAIN", value: strings.Repeat("a", 64) + ".example", want: "at most 63"},
		{name: "long domain", variable: "AMTP_DOMAIN", value: strings.Repeat("a.", 130) + "example", want: "at most 253"},
		{name: "half a certificate", variable: "AMTP_TLS_CERT_FILE", value: "cert.pem", want: "belong together"},
		{name: "no database", variable: "AMTP_STORAGE_TYPE", value: "database", want: "storage.database.connection_string"},
		{name: "http registry without URL", variable: "AMTP_SCHEMA_REGISTRY_TYPE", value: "http", want: "schema.registry.base_url"},
		{name: "public URL", variable: "AMTP_TLS_ENABLED", file: "server: {public_url: 'http://amtp.example.com'}", value: "false", want: "server.public_url: want https://"},
		{name: "method", file: "auth: {methods: [magic]}", want: `auth.methods: "magic"`},
		{name: "prefix", file: "server: {trusted_proxies: [ten]}", want: "want a prefix"},
		{name: "resolver", variable: "AMTP_DNS_RESOLVERS", value: "here", want: "dns.resolvers"},
	} {
		_, _, err := load(t, c.file, map[string]string{c.variable: c.value})
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: shows what stands there: %v", c.name, err)
		}
	}
}

func TestPublicURLIsHTTPWhereGatewaysMayBe(t *testing.T) {
	t.Parallel()
	for _, file := range []string{
		"server: {public_url: 'https://amtp.example.com'}",
		"server: {public_url: 'HTTP://amtp.example.com'}\ndns: {allow_http: true}",
	} {
		if _, _, err := load(t, file, nil); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestAllThatIsWrongIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	_, _, err := load(t, "", map[string]string{"AMTP_TLS_ENABLED": "x", "AMTP_DNS_TIMEOUT": "x"})
	if err == nil || !strings.Contains(err.Error(), "AMTP_TLS_ENABLED") || !strings.Contains(err.Error(), "AMTP_DNS_TIMEOUT") {
		t.Error(err)
	}
}

func TestUnknownKeysAreWarnings(t *testing.T) {
	t.Parallel()
	file := "version: '1.0'\nsevrer: {domain: a.example}\nschema:\n  local_registry: {base_path: ./schemas, backup_count: 5}\n"
	c, warnings := mustLoad(t, file, map[string]string{"AMTP_DOMIAN": "b.example", "AMTP_GATEWAY_URL": "https://x"})
	want := []string{
		"gateway.yaml: schema.local_registry.backup_count: unknown key, ignored",
		"gateway.yaml: sevrer: unknown key, ignored, did you mean server?",
		"AMTP_DOMIAN: unknown variable, ignored, did you mean AMTP_DOMAIN?",
	}
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Error(diff)
	}
	if c.Schema.RegistryType != RegistryLocal || c.Server.Domain != "localhost" {
		t.Errorf("%s %s", c.Schema.RegistryType, c.Server.Domain)
	}
}

func TestAliases(t *testing.T) {
	t.Parallel()
	c, _ := mustLoad(t, "", map[string]string{
		"AMTP_STORAGE_DATABASE_MAX_CONNS": "7", "AMTP_AUTH_ADMIN_KEY_FILE": "keys.txt", "AMTP_STORAGE_DATABASE_MAX_IDLE_TIME": "300",
		"AMTP_SCHEMA_USE_LOCAL_REGISTRY": "true", "AMTP_SCHEMA_REGISTRY_PATH": "schemas", "AMTP_VERIFY_POLICY": "Reject",
	})
	if c.Storage.MaxConnections != 7 || c.Auth.AdminKeyFile != "keys.txt" || c.Storage.MaxIdleTime != 5*time.Minute ||
		c.Schema.RegistryType != RegistryLocal || c.Signature.VerifyPolicy != PolicyReject {
		t.Errorf("%+v", c)
	}
}

func TestEveryKeyHasItsVariableAndItsPlaceInTheFile(t *testing.T) {
	t.Parallel()
	var c Config
	var g given
	seen := make(map[string]bool)
	for _, k := range keys(&c, &g) {
		if seen[k.name] {
			t.Errorf("%s is there twice", k.name)
		}
		seen[k.name] = true
		text := sample(k)
		if err := k.parse(text); err != nil {
			t.Errorf("%s = %s: %v", k.name, text, err)
		}
		names := k.variables()
		if last := names[len(names)-1]; last != "AMTP_"+strings.ToUpper(strings.ReplaceAll(k.name, ".", "_")) {
			t.Errorf("%s: %v", k.name, names)
		}
	}
}

// sample is a value that fits a key.
func sample(k key) string {
	switch k.at.(type) {
	case *bool:
		return "true"
	case *int, *int64:
		return "3"
	case *time.Duration:
		return "3s"
	case *map[string]string:
		return `{"a":"b"}`
	}
	if k.oneOf != nil {
		return k.oneOf[0]
	}
	return "a,b"
}

func TestDomainIsNormalised(t *testing.T) {
	t.Parallel()
	if c, _ := mustLoad(t, "", map[string]string{"AMTP_DOMAIN": "Example.COM."}); c.Server.Domain != "example.com" {
		t.Error(c.Server.Domain)
	}
	if _, warnings := mustLoad(t, "", map[string]string{"AMTP_DOMAIN": "192.0.2.7"}); len(warnings) != 1 {
		t.Errorf("an address as a domain: %q", warnings)
	}
}

func TestDatabaseURLs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, driver, text, want string }{
		{"README", "pgx", "host=db.example port=5432 user=USER password=PASSWORD dbname=agentry", "postgres://USER:PASSWORD@db.example:5432/agentry"},
		{"sslmode", "pgx", "host=localhost port=5432 user=a dbname=b sslmode=disable", "postgres://a@localhost:5432/b?sslmode=disable"},
		{"quoted", "postgres", `host = 'db' user='o\'neil' password='a b@c/d' dbname=x`, "postgres://o%27neil:a%20b%40c%2Fd@db/x"},
		{"socket", "pgx", "host=/run/postgresql user=a dbname=b", "postgres://a@/b?host=%2Frun%2Fpostgresql"},
		{"URL", "pgx", "postgres://a@b/c", "postgres://a@b/c"},
		{"no driver", "", "postgres://a@b/c", "postgres://a@b/c"},
		{"six", "pgx", "host=::1 port=5432 dbname=x", "postgres://[::1]:5432/x"},
		{"options", "pgx", "host=db user=a dbname=b options='-c search_path=x'", "postgres://a@db/b?options=-c%20search_path%3Dx"},
		{"hosts", "pgx", "host=a,b port=1,2 dbname=c", "postgres:///c?host=a%2Cb&port=1%2C2"},
		{"trailing backslash", "pgx", `host=db user=a\`, "postgres://a@db/"},
		{"SQLite", "sqlite3", "file:/var/lib/x.db", "sqlite:///var/lib/x.db"},
	} {
		if got, err := DatabaseURL(c.driver, c.text); err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		} else if _, err := pgx.ParseConfig(got); err != nil && strings.HasPrefix(got, "postgres:") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for _, c := range []struct{ driver, text string }{
		{"cloudsqlpostgres", "host=secret"}, {"pgx", "secret"}, {"pgx", "mysql://secret"}, {"pgx", "password='secret"}, {"pgx", ""},
	} {
		if got, err := DatabaseURL(c.driver, c.text); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %q, %v", c.text, got, err)
		}
	}
}

func TestStorage(t *testing.T) {
	t.Parallel()
	env := map[string]string{"AMTP_STORAGE_TYPE": "database", "AMTP_STORAGE_DATABASE_DRIVER": "pgx", "AMTP_STORAGE_DATABASE_CONNECTION_STRING": "host=db dbname=x"}
	if c, _ := mustLoad(t, "", env); c.Storage.Database != "postgres://db/x" || c.Storage.Type != StorageDatabase {
		t.Errorf("%+v", c.Storage)
	}
	flag := Setting{"storage.database.url", "sqlite:///x.db", "--database"}
	if c, _ := mustLoad(t, "storage: {type: memory}", nil, flag); c.Storage.Database != "sqlite:///x.db" || c.Storage.Type != StorageDatabase {
		t.Errorf("--database beside memory: %+v", c.Storage)
	}
	env["AMTP_STORAGE_TYPE"] = "memory"
	if c, warnings := mustLoad(t, "", env); c.Storage.Type != StorageMemory || c.Storage.Database != "" || len(warnings) != 1 {
		t.Errorf("%+v, %q", c.Storage, warnings)
	}
}

// A connection string in place of the URL is none of a file's names.
func TestConnectionStringForURL(t *testing.T) {
	t.Parallel()
	c, _ := mustLoad(t, "", nil, Setting{"storage.database.url", "host=db.example user=amesh dbname=mail", "--database"})
	if want := "postgres://amesh@db.example/mail"; c.Storage.Database != want || c.Storage.Type != StorageDatabase {
		t.Errorf("%s %s, want %s", c.Storage.Type, c.Storage.Database, want)
	}
	if _, _, err := load(t, "", nil, Setting{"storage.database.url", "host db.example dbname=mail", "--database"}); err == nil {
		t.Error("taken, and it is neither a connection string nor a URL")
	}
}

func TestAnIssuerIsBelievedOnceItIsNamed(t *testing.T) {
	t.Parallel()
	oauth := "auth: {oauth: {issuer: 'https://id.example', audiences: [us], domains: [b.example]}}"
	if c, warnings := mustLoad(t, oauth, nil); !slices.Contains(c.Auth.Methods, "oauth") || len(warnings) > 0 {
		t.Errorf("%v, %q", c.Auth.Methods, warnings)
	}
	if c, warnings := mustLoad(t, oauth, map[string]string{"AMTP_AUTH_METHODS": "domain"}); slices.Contains(c.Auth.Methods, "oauth") || len(warnings) != 1 {
		t.Errorf("%v, %q", c.Auth.Methods, warnings)
	}
	if _, _, err := load(t, "auth: {oauth: {issuer: 'https://id.example'}}", nil); err == nil {
		t.Error("an issuer without audience and domains is taken")
	}
}

func TestSchemas(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, file string
		env        map[string]string
		want       string
	}{
		{"nothing", "", nil, RegistryDatabase},
		{"agentry's way", "compat: {mode: agentry}", nil, RegistryNone},
		{"a folder", "schema: {local_registry: {base_path: s}}", nil, RegistryLocal},
		{"a URL", "", map[string]string{"AMTP_SCHEMA_REGISTRY_URL": "https://schemas.example"}, RegistryHTTP},
		{"local without a folder", "", map[string]string{"AMTP_SCHEMA_REGISTRY_TYPE": "local"}, RegistryDatabase},
		{"said", "schema: {registry_type: none, local_registry: {base_path: s}}", nil, RegistryNone},
	} {
		if got, _ := mustLoad(t, c.file, c.env); got.Schema.RegistryType != c.want || !got.Schema.Pipeline.Enabled {
			t.Errorf("%s: %s", c.name, got.Schema.RegistryType)
		}
	}
}

// What an operator can say is what the handbook says.
func TestEveryKeyIsDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/operations/gateway.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "## Every key")
	for _, name := range Keys() {
		if !strings.Contains(table, "`"+name+"`") {
			t.Errorf("docs/operations/gateway.md: no key %s", name)
		}
	}
	for _, m := range regexp.MustCompile("`([a-z]+(?:[._][a-z_]+)+)`").FindAllStringSubmatch(table, -1) {
		if !slices.Contains(Keys(), m[1]) {
			t.Errorf("docs/operations/gateway.md: %s is no key", m[1])
		}
	}
}
