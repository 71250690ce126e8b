package natbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// The interfaces of the two holders. A namespace has one box.
const (
	holdInside  = "hold-inside"
	holdOutside = "hold-outside"
)

// hold keeps packets for a while. The kernel sends it, through an interface of its own,
// frames that came in on another one; it gives each back after the delay, on that
// interface of its own, where the kernel takes it as if it had just come. Frames stay in order: when the
// delay becomes shorter, the next waits for those before it.
type hold struct {
	index   int
	address net.HardwareAddr // the other interface's, to which the frames are addressed
	tap     *os.File
	delay   atomic.Int64 // a time.Duration
}

// openHold makes the interface name as a stand-in for another.
func openHold(name string, in *net.Interface) (*hold, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("a delay needs /dev/net/tun: %w", err)
	}
	if err := setUpTap(fd, name, in); err != nil {
		return nil, errors.Join(fmt.Errorf("make %s: %w", name, err), unix.Close(fd))
	}
	h := &hold{address: in.HardwareAddr, tap: os.NewFile(uintptr(fd), name)}
	made, err := net.InterfaceByName(name)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make %s: %w", name, err), h.tap.Close())
	}
	h.index = made.Index
	return h, nil
}

// setUpTap gives the interface the other one's address, so that the kernel takes frames
// for that as its own, and its size.
func setUpTap(fd int, name string, in *net.Interface) error {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	req.SetUint32(uint32(in.MTU))
	if err := unix.IoctlIfreq(s, unix.SIOCSIFMTU, req); err != nil {
		return err
	}
	if err := setAddress(s, name, in.HardwareAddr); err != nil {
		return err
	}
	if err := looseReturnPath(name); err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, req)
}

// run gives frames back until ctx ends, and closes the interface.
func (h *hold) run(ctx context.Context) error {
	type frame struct {
		bytes []byte
		due   time.Time
	}
	held := make(chan frame, heldFrames)
	stop := context.AfterFunc(ctx, func() { h.tap.Close() })
	defer stop()
	defer h.tap.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for f := range held {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Until(f.due)):
			}
			_, _ = h.tap.Write(f.bytes) // a lost frame is a frame's fate
		}
	})
	defer close(held)
	buf := make([]byte, maxFrame)
	for {
		n, err := h.tap.Read(buf)
		if err != nil && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("hold packets: %w", err)
		}
		// The kernel also sends frames of its own there, to all its neighbours.
		if !bytes.HasPrefix(buf[:n], h.address) {
			continue
		}
		select {
		case held <- frame{bytes.Clone(buf[:n]), time.Now().Add(time.Duration(h.delay.Load()))}:
		default:
		}
	}
}
