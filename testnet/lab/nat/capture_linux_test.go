package nat_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// capture counts packets by their two addresses.
type capture struct {
	mu    sync.Mutex
	pairs map[[2]netip.Addr]int
}

// listen hears every packet on every interface of a namespace until the test ends.
func listen(t *testing.T, space string) *capture {
	t.Helper()
	opened := make(chan error)
	var fd int
	go func() {
		// The thread ends with its goroutine: it is of no use in another namespace.
		runtime.LockOSThread()
		opened <- func() error {
			there, err := os.Open("/run/netns/" + space)
			if err != nil {
				return err
			}
			defer there.Close()
			if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
				return err
			}
			every := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
			fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(every))
			if err != nil {
				return err
			}
			// A look now and then at whether the test is over.
			return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: int64(lookEvery / time.Microsecond)})
		}()
	}()
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	c := &capture{pairs: make(map[[2]netip.Addr]int)}
	over, ended := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); c.run(fd, over) }()
	t.Cleanup(func() { close(over); <-ended })
	return c
}

func (c *capture) run(fd int, over chan struct{}) {
	defer unix.Close(fd)
	packet := make([]byte, 1<<16)
	for {
		select {
		case <-over:
			return
		default:
		}
		n, _, err := unix.Recvfrom(fd, packet, 0)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || n < 20 || packet[0]>>4 != 4 {
			continue
		}
		from, to := netip.AddrFrom4([4]byte(packet[12:16])), netip.AddrFrom4([4]byte(packet[16:20]))
		c.mu.Lock()
		c.pairs[[2]netip.Addr{from, to}]++
		c.mu.Unlock()
	}
}

// between counts the packets from one to the other, either way.
func (c *capture) between(a, b netip.Addr) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pairs[[2]netip.Addr{a, b}] + c.pairs[[2]netip.Addr{b, a}]
}

// with counts the packets from or to an address.
func (c *capture) with(ip netip.Addr) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for ends, count := range c.pairs {
		if ends[0] == ip || ends[1] == ip {
			n += count
		}
	}
	return n
}
