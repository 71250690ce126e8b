package stage

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// door leads to the API of a node in a container: a socket of ours, and for every
// connection to it a process in the container that carries it to the node's own socket.
// So no port is published and no token leaves the container; whoever may run commands in
// the container may use the API.
type door struct {
	path      string
	container string
	listener  *net.UnixListener

	mu     sync.Mutex
	closed bool
	open   map[*exec.Cmd]bool
	wg     sync.WaitGroup
}

func openDoor(folder, container string) (*door, error) {
	d := &door{path: filepath.Join(folder, container+".sock"), container: container, open: make(map[*exec.Cmd]bool)}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: d.path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(d.path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	d.listener = l
	d.wg.Go(d.serve)
	return d, nil
}

func (d *door) serve() {
	for {
		conn, err := d.listener.AcceptUnix()
		if err != nil {
			return // closed
		}
		d.wg.Go(func() { d.carry(conn) })
	}
}

// carry connects one caller. When the container dies the caller sees the connection end.
func (d *door) carry(conn *net.UnixConn) {
	file, err := conn.File()
	conn.Close() // the file is a second handle
	if err != nil {
		return
	}
	defer file.Close()
	cmd := exec.Command("docker", "exec", "-i", d.container, "/amesh", "testnet", "pipe")
	cmd.Stdin, cmd.Stdout = file, file
	d.mu.Lock()
	if !d.closed {
		err = cmd.Start()
		d.open[cmd] = err == nil
	}
	started := d.open[cmd]
	d.mu.Unlock()
	if started {
		_ = cmd.Wait() // why it ended is what the caller sees
	}
	d.mu.Lock()
	delete(d.open, cmd)
	d.mu.Unlock()
}

// close ends every connection and waits.
func (d *door) close() error {
	d.mu.Lock()
	d.closed = true
	for cmd, started := range d.open {
		if started {
			_ = cmd.Process.Kill() // it may have ended by itself
		}
	}
	d.mu.Unlock()
	err := d.listener.Close()
	d.wg.Wait()
	return err
}
