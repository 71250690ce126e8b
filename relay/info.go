package relay

// stunFor is what a client is told about the STUN server: nothing if it named no
// extension, because it then knows the frames of 0.2 and may be strict about them.
func (s *Server) stunFor(offered []Extension) string {
	if len(offered) == 0 {
		return ""
	}
	return s.stun
}
