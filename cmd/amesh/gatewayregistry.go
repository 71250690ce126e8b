package main

import (
	"fmt"
	"log/slog"
	"os"

	"amesh/gateway"
	"amesh/gateway/config"
	"amesh/gateway/schema"
	"amesh/gateway/store"
)

// schemaRegistry says where schemas are kept; nil: nowhere. Files are read when the
// gateway starts.
func schemaRegistry(s config.Schema, log *slog.Logger) func(*store.Store) (schema.Registry, error) {
	switch s.RegistryType {
	case config.RegistryDatabase:
		return gateway.SchemaRows
	case config.RegistryLocal:
		return func(*store.Store) (schema.Registry, error) {
			return schema.OpenDirectory(schema.DirectoryConfig{
				Path: s.Local.BasePath, Index: s.Local.IndexFile, Save: s.Local.AutoSave, Create: s.Local.CreateDirs, Log: log,
			})
		}
	case config.RegistryHTTP:
		return func(*store.Store) (schema.Registry, error) { return remoteRegistry(s.HTTP, log) }
	}
	return nil
}

func remoteRegistry(h config.HTTPRegistry, log *slog.Logger) (schema.Registry, error) {
	c := schema.RemoteConfig{
		URL: h.BaseURL, Token: h.AuthToken, Headers: h.Headers, Timeout: h.Timeout, Retries: h.RetryCount,
		AllowUnsigned: h.AllowUnsigned, Log: log,
	}
	var err error
	if c.TLS, err = (schema.TLSFiles{CA: h.TLS.CAFile, Cert: h.TLS.CertFile, Key: h.TLS.KeyFile, Insecure: h.TLS.InsecureSkipVerify}).Config(); err != nil {
		return nil, err
	}
	if h.KeyFile != "" {
		text, err := os.ReadFile(h.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("schema.registry.key_file: %w", err)
		}
		if c.Keys, err = schema.ParseKeys(text); err != nil {
			return nil, fmt.Errorf("schema.registry.key_file: %w", err)
		}
	}
	return schema.NewRemote(c)
}
