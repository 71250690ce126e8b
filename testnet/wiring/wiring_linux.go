package wiring

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// TakeAddress gives the interface that has an address of the network a second one in it.
// Taking it again is no error.
func TakeAddress(network netip.Prefix, address netip.Addr) error {
	in, err := interfaceIn(network, address)
	if err != nil || in == "" {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("take %s: %w", address, err)
	}
	defer unix.Close(fd)
	// An alias is how this old call tells a second address from another first one.
	alias, err := unix.NewIfreq(in + ":gw")
	if err != nil {
		return fmt.Errorf("take %s: %w", address, err)
	}
	mask := net.CIDRMask(network.Bits(), 32)
	a := address.As4()
	for _, set := range []struct {
		request uint
		value   []byte
	}{{unix.SIOCSIFADDR, a[:]}, {unix.SIOCSIFNETMASK, mask}} {
		if err := alias.SetInet4Addr(set.value); err != nil {
			return fmt.Errorf("take %s: %w", address, err)
		}
		if err := unix.IoctlIfreq(fd, set.request, alias); err != nil {
			return fmt.Errorf("take %s on %s: %w", address, in, err)
		}
	}
	return nil
}

// interfaceIn is the interface with an address of the network; empty when the wanted
// address is there already.
func interfaceIn(network netip.Prefix, wanted netip.Addr) (string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	found := ""
	for _, in := range all {
		addrs, err := in.Addrs()
		if err != nil {
			return "", fmt.Errorf("addresses of %s: %w", in.Name, err)
		}
		for _, a := range addrs {
			has, err := netip.ParsePrefix(a.String())
			switch {
			case err != nil:
			case has.Addr() == wanted:
				return "", nil
			case network.Contains(has.Addr()):
				found = in.Name
			}
		}
	}
	if found == "" {
		return "", fmt.Errorf("no interface here has an address of %s", network)
	}
	return found, nil
}

// MakeTun makes /dev/net/tun where it is missing.
func MakeTun() error {
	const path, major, minor = "/dev/net/tun", 10, 200
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll("/dev/net", 0o755); err != nil {
		return err
	}
	if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(major, minor))); err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	return nil
}
