package doctor

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"amesh/node/api"
)

// System looks at the machine that this process runs on. root is the file system's, "/"
// but in tests.
func System(root string) []api.Check {
	return []api.Check{openFiles(fileLimit()), udpBuffers(root)}
}

func openFiles(limit int, known bool) api.Check {
	const next = "raise it: ulimit -n 65536, or LimitNOFILE=65536 in the service"
	switch {
	case !known:
		return skip("files", "how many files may be open is not known here")
	case limit < filesFail:
		return fail("files", next, "only %d files may be open", limit)
	case limit < filesWarn:
		return warn("files", next, "%d files may be open", limit)
	}
	return ok("files", "%d files may be open", limit)
}

func udpBuffers(root string) api.Check {
	if runtime.GOOS != "linux" {
		return skip("udp_buffers", "not asked on this system")
	}
	var small []string
	for _, name := range []string{"rmem_max", "wmem_max"} {
		n, err := strconv.Atoi(strings.TrimSpace(read(root, "proc/sys/net/core/"+name)))
		if err != nil {
			return skip("udp_buffers", "net.core.%s is not to be seen from here", name)
		}
		if n < udpBuffer {
			small = append(small, "net.core."+name+"="+strconv.Itoa(udpBuffer))
		}
	}
	if len(small) == 0 {
		return ok("udp_buffers", "as large as QUIC wants")
	}
	return warn("udp_buffers", "sysctl -w "+strings.Join(small, " "), "smaller than QUIC wants: large messages take longer on fast lines")
}

// read is the beginning of a file, empty where it cannot be read.
func read(root, name string) string {
	raw, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		return ""
	}
	return string(raw[:min(len(raw), 4096)])
}

// InContainer reports whether this process seems to run in a container.
func InContainer(root string) bool {
	for _, mark := range []string{".dockerenv", "run/.containerenv"} {
		if _, err := os.Stat(filepath.Join(root, mark)); err == nil {
			return true
		}
	}
	first := []byte(read(root, "proc/1/cgroup"))
	for _, word := range []string{"docker", "kubepods", "containerd", "libpod", "lxc"} {
		if bytes.Contains(first, []byte(word)) {
			return true
		}
	}
	return false
}

// bridges are the networks that Docker makes on every machine alike: their addresses
// mean another thing everywhere.
var bridges = netip.MustParsePrefix("172.17.0.0/16")

// Addresses looks at what the node listens on (multiaddrs), which is what accepted peers
// are told.
func Addresses(listen []string, container bool) api.Check {
	var bridge, other []string
	for _, text := range listen {
		parts := strings.Split(text, "/")
		if len(parts) < 3 {
			continue
		}
		ip, err := netip.ParseAddr(parts[2])
		switch {
		case err != nil || ip.IsLoopback():
		case slices.Contains(other, ip.String()): // listens there on TCP and UDP
		case bridges.Contains(ip):
			bridge = append(bridge, ip.String())
		default:
			other = append(other, ip.String())
		}
	}
	switch {
	case len(bridge) == 0 && len(other) == 0:
		return ok("addresses", "on this machine only")
	case len(bridge) == 0:
		return ok("addresses", "%s, none of a container's bridge", strings.Join(other[:min(len(other), 3)], " "))
	case container:
		return warn("addresses", "start the container with --network host, or leave it to the relays",
			"the node is in a container: %s is an address that others cannot dial", bridge[0])
	}
	return warn("addresses", "name the addresses to listen on: amesh up --listen /ip4/ADDRESS/udp/47777/quic-v1",
		"%s belongs to a bridge for containers, and is told to accepted peers", bridge[0])
}
