package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// firstInherited is the first file descriptor that a service manager hands over
// (sd_listen_fds(3)).
const firstInherited = 3

// inheritedSockets are those that a service manager opened for us: a listener of TCP
// and a socket of UDP, each nil if there is none. While the process is restarted the
// manager keeps them, so nobody who connects meanwhile is refused.
func inheritedSockets(getenv func(string) string) (door net.Listener, udp *net.UDPConn, err error) {
	if getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil, nil // for another process, or for nobody
	}
	n, err := strconv.Atoi(getenv("LISTEN_FDS"))
	if err != nil || n < 0 {
		return nil, nil, usagef("LISTEN_FDS=%s: want a number", getenv("LISTEN_FDS"))
	}
	for fd := firstInherited; fd < firstInherited+n; fd++ {
		f := os.NewFile(uintptr(fd), "LISTEN_FDS")
		l, c := adopt(f)
		_ = f.Close() // they have copies of their own
		switch {
		case l != nil && door == nil:
			door = l
		case c != nil && udp == nil:
			udp = c
		default:
			return nil, nil, usagef("file descriptor %d of the service manager: want one TCP listener, and at most one UDP socket", fd)
		}
	}
	return door, udp, nil
}

// adopt makes of a file what it is, if we can use it.
func adopt(f *os.File) (*net.TCPListener, *net.UDPConn) {
	if l, err := net.FileListener(f); err == nil {
		if tcp, ok := l.(*net.TCPListener); ok {
			return tcp, nil
		}
		_ = l.Close()
	}
	if c, err := net.FilePacketConn(f); err == nil {
		if udp, ok := c.(*net.UDPConn); ok {
			return nil, udp
		}
		_ = c.Close()
	}
	return nil, nil
}

// manager is the service manager that started us (sd_notify(3)), if one did.
type manager struct {
	socket   string
	watchdog time.Duration // how often it wants a sign of life; 0 for never
}

func managerOf(getenv func(string) string) manager {
	m := manager{socket: getenv("NOTIFY_SOCKET")}
	whose := getenv("WATCHDOG_PID")
	us, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	if err == nil && us > 0 && (whose == "" || whose == strconv.Itoa(os.Getpid())) {
		m.watchdog = time.Duration(us) * time.Microsecond
	}
	return m
}

// tell sends a state. Without a manager it does nothing.
func (m manager) tell(state string) error {
	if m.socket == "" {
		return nil
	}
	c, err := net.Dial("unixgram", m.socket)
	if err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	_, err = c.Write([]byte(state))
	return errors.Join(err, c.Close())
}

// run says that we are ready, gives signs of life as long as alive returns, and says
// when ctx ends that we are stopping.
func (m manager) run(ctx context.Context, alive func()) error {
	if err := m.tell("READY=1"); err != nil {
		return err
	}
	if m.watchdog > 0 {
		beat := time.NewTicker(m.watchdog / 2)
		defer beat.Stop()
		for ctx.Err() == nil {
			select {
			case <-beat.C:
				alive()
				if err := m.tell("WATCHDOG=1"); err != nil {
					return err
				}
			case <-ctx.Done():
			}
		}
	}
	<-ctx.Done()
	return m.tell("STOPPING=1")
}
