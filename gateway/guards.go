package gateway

import (
	"errors"
	"net/http"

	"amesh/gateway/amtp"
	"amesh/gateway/auth"
)

// admins may call: those who show an admin key, or all while there is none and
// Config.AdminOpen is set.
func (s *Server) admins(r *request) error {
	err := s.cfg.Admins.Check(r.Header.Get(s.cfg.AdminHeader))
	switch {
	case err == nil, errors.Is(err, auth.ErrNotConfigured) && s.cfg.AdminOpen && !s.cfg.Admins.Configured():
		return nil
	case errors.Is(err, auth.ErrNotConfigured):
		return amtp.Errorf(http.StatusUnauthorized, amtp.CodeAdminAuthNotConfigured, "this gateway has no admin keys yet: its operator names a file of them")
	case errors.Is(err, auth.ErrNone):
		return amtp.Errorf(http.StatusUnauthorized, amtp.CodeAdminAuthenticationRequired, "Admin API key required for administrative operations").
			With("required_header", s.cfg.AdminHeader).With("endpoint", r.URL.Path)
	}
	return s.failed(r, amtp.Errorf(http.StatusForbidden, amtp.CodeAdminAccessDenied, "Invalid admin API key").With("endpoint", r.URL.Path))
}
