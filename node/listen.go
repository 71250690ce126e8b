package node

import (
	"fmt"
	"slices"

	ma "github.com/multiformats/go-multiaddr"
)

// checkListen checks what the owner wrote as addresses to listen on, before anything
// is opened: TCP or QUIC on an IP address, which is what the host speaks.
func checkListen(list []string) error {
	for _, text := range list {
		addr, err := ma.NewMultiaddr(text)
		if err != nil {
			return fmt.Errorf("listen address %q: %w", text, err)
		}
		var codes []int
		for _, p := range addr.Protocols() {
			codes = append(codes, p.Code)
		}
		ip := len(codes) > 0 && (codes[0] == ma.P_IP4 || codes[0] == ma.P_IP6)
		if !ip || !slices.Equal(codes[1:], []int{ma.P_TCP}) && !slices.Equal(codes[1:], []int{ma.P_UDP, ma.P_QUIC_V1}) {
			return fmt.Errorf("listen address %q: want /ip4/…/tcp/PORT or /ip4/…/udp/PORT/quic-v1", text)
		}
	}
	return nil
}
