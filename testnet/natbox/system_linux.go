package natbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// findInterface takes a name, an address or a prefix.
func findInterface(what string) (*net.Interface, error) {
	if in, err := net.InterfaceByName(what); err == nil {
		return in, nil
	}
	prefix, err := netip.ParsePrefix(what)
	if ip, errIP := netip.ParseAddr(what); errIP == nil {
		prefix, err = netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	all, errAll := net.Interfaces()
	if err != nil || errAll != nil {
		return nil, errors.Join(fmt.Errorf("%w %s here", ErrNoInterface, what), errAll)
	}
	for _, in := range all {
		addrs, err := in.Addrs()
		if err != nil {
			return nil, fmt.Errorf("addresses of %s: %w", in.Name, err)
		}
		for _, a := range addrs {
			if has, err := netip.ParsePrefix(a.String()); err == nil && prefix.Contains(has.Addr()) {
				return &in, nil
			}
		}
	}
	return nil, fmt.Errorf("%w here has an address of %s", ErrNoInterface, what)
}

// switchOn sees to it that a setting of the kernel is 1. Where settings cannot be
// written, as in a container, it must have been given with the container.
func switchOn(setting string) error { return setTo(setting, "1") }

func setTo(setting, value string) error {
	path := "/proc/sys/" + strings.ReplaceAll(setting, ".", "/")
	is, err := os.ReadFile(path)
	if err == nil && strings.TrimSpace(string(is)) == value {
		return nil
	}
	if err == nil {
		err = os.WriteFile(path, []byte(value), 0o644)
	}
	if err != nil {
		return fmt.Errorf("%s has to be %s, set it from outside: %w", strings.ReplaceAll(setting, "/", "."), value, err)
	}
	return nil
}

// looseReturnPath lets packets come in on an interface on which none would be sent back.
func looseReturnPath(ifname string) error {
	if err := setTo("net.ipv4.conf."+ifname+".rp_filter", "0"); err != nil {
		return err
	}
	all, err := os.ReadFile("/proc/sys/net/ipv4/conf/all/rp_filter")
	if err == nil && strings.TrimSpace(string(all)) == "1" {
		return setTo("net.ipv4.conf.all.rp_filter", "0")
	}
	return nil
}

// setAddress gives an interface a link address.
func setAddress(socket int, ifname string, mac net.HardwareAddr) error {
	// struct ifreq with a sockaddr, which x/sys has no setter for.
	var req [unsafe.Sizeof(unix.Ifreq{})]byte
	copy(req[:unix.IFNAMSIZ-1], ifname)
	binary.NativeEndian.PutUint16(req[unix.IFNAMSIZ:], unix.ARPHRD_ETHER)
	copy(req[unix.IFNAMSIZ+2:], mac)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCSIFHWADDR, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return errno
	}
	return nil
}
