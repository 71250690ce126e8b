package sqltest

import "fmt"

// Server is a PostgreSQL server for a program that is no test. Its data lives as long
// as it does.
type Server struct{ c *cluster }

// Start starts a server on a socket in a folder of its own, which syncs nothing. It
// says in its error what this machine lacks.
func Start() (*Server, error) { return start(unsynced) }

// StartDurable starts one that syncs every commit, as servers do as they come.
func StartDurable() (*Server, error) { return start(nil) }

func start(settings []string) (*Server, error) {
	c, err := startCluster(settings)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: %w", err)
	}
	return &Server{c}, nil
}

// URL is where its database is.
func (s *Server) URL() string { return s.c.url("postgres") }

// Close stops the server and removes its data.
func (s *Server) Close() error { return s.c.stop() }
