package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// errDSN has no part of the text in it, which holds a password.
var errDSN = errors.New("connection_string: want host=… user=… password=… dbname=…, or a postgres:// URL")

// DatabaseURL makes the URL of a database out of agentry's driver and connection
// string: key=value as libpq has it, or a URL already. Its errors show nothing of the
// string.
func DatabaseURL(driver, connection string) (string, error) {
	connection = strings.TrimSpace(connection)
	switch driver {
	case "", "pgx", "postgres", "postgresql":
	case "sqlite", "sqlite3":
		if strings.HasPrefix(connection, "sqlite://") {
			return connection, nil
		}
		return "sqlite://" + strings.TrimPrefix(connection, "file:"), nil
	default:
		return "", fmt.Errorf("driver %.40q: want pgx or sqlite; a database behind a proxy is reached with pgx", driver)
	}
	if scheme, _, ok := strings.Cut(connection, "://"); ok {
		if scheme == "postgres" || scheme == "postgresql" || scheme == "sqlite" && driver == "" {
			return connection, nil
		}
		return "", errDSN
	}
	pairs, err := parsePairs(connection)
	if err != nil {
		return "", err
	}
	return postgresURL(pairs)
}

func postgresURL(pairs map[string]string) (string, error) {
	u := url.URL{Scheme: "postgres", Path: "/" + pairs["dbname"]}
	if name := pairs["user"]; name != "" {
		u.User = url.User(name)
		if password, ok := pairs["password"]; ok {
			u.User = url.UserPassword(name, password)
		}
	}
	query := url.Values{}
	host, port := pairs["host"], pairs["port"]
	switch {
	case !plainHost(host) || strings.Trim(port, "0123456789") != "":
		// A socket, or several hosts: what does not fit into a URL's host.
		query.Set("host", host)
		if port != "" {
			query.Set("port", port)
		}
	case port != "":
		u.Host = net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		u.Host = "[" + host + "]"
	default:
		u.Host = host
	}
	for name, value := range pairs {
		switch name {
		case "host", "port", "user", "password", "dbname":
		default:
			query.Set(name, value)
		}
	}
	if u.User == nil && pairs["password"] != "" {
		query.Set("password", pairs["password"])
	}
	// The driver takes a plus sign for itself.
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	return u.String(), nil
}

// plainHost reports whether a host can stand in a URL as it is.
func plainHost(host string) bool {
	if strings.Contains(host, ":") {
		_, err := netip.ParseAddr(host)
		return err == nil && !strings.Contains(host, "%")
	}
	return strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == ""
}

// space is what separates pairs.
const space = " \t\n\r\v\f"

// parsePairs reads key = value pairs; a value may stand in single quotes, and a
// backslash takes the next letter as it is.
func parsePairs(text string) (map[string]string, error) {
	pairs := make(map[string]string)
	for rest := strings.Trim(text, space); rest != ""; rest = strings.Trim(rest, space) {
		name, after, ok := strings.Cut(rest, "=")
		name = strings.Trim(name, space)
		if !ok || name == "" || strings.ContainsAny(name, space+"'\\\x00") {
			return nil, errDSN
		}
		value, tail, ok := pairValue(strings.TrimLeft(after, space))
		if !ok {
			return nil, errDSN
		}
		pairs[name], rest = value, tail
	}
	if len(pairs) == 0 {
		return nil, errDSN
	}
	return pairs, nil
}

func pairValue(text string) (value, rest string, ok bool) {
	quoted := strings.HasPrefix(text, "'")
	text = strings.TrimPrefix(text, "'")
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			if i++; i < len(text) {
				b.WriteByte(text[i])
			}
		case quoted && c == '\'', !quoted && strings.IndexByte(space, c) >= 0:
			return b.String(), text[i+1:], true
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), "", !quoted
}
