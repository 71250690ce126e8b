package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

var errNotHere = errors.New("not installed")

// startMosquitto runs the mosquitto of this machine, without limits on what waits.
func (h *house) startMosquitto() (addr string, err error) {
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			return "", fmt.Errorf("mosquitto is %w", errNotHere)
		}
	}
	// mosquitto does not tell which port the kernel chose, so it is chosen here.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr = l.Addr().String()
	l.Close()
	_, port, _ := strings.Cut(addr, ":")
	config := filepath.Join(h.dir, "mosquitto.conf")
	text := "listener " + port + " 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_queued_bytes 0\nmax_inflight_messages 0\nset_tcp_nodelay true\nlog_dest none\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return "", err
	}
	cmd := exec.Command(program, "-c", config)
	if err := cmd.Start(); err != nil {
		return "", err
	}
	h.atEnd(func() error {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil
	})
	for range 200 {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return addr, c.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return "", errors.New("mosquitto does not listen")
}

// MQTT 3.1.1, as far as it is needed here.
const (
	mqttConnect   = 0x10
	mqttConnack   = 0x20
	mqttPublish   = 0x32 // QoS 1
	mqttPuback    = 0x40
	mqttSubscribe = 0x82
	mqttSuback    = 0x90
)

type mqtt struct {
	net.Conn
	in  *bufio.Reader
	out []byte
}

func mqttJoin(addr, name string, clean bool) (*mqtt, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	m := &mqtt{Conn: c, in: bufio.NewReaderSize(c, readBuffer)}
	flags := byte(0)
	if clean {
		flags = 2
	}
	m.add(mqttConnect, field("MQTT"), []byte{4, flags, 0, 0}, field(name))
	if err := m.flush(); err != nil {
		return nil, err
	}
	_, err = m.want(mqttConnack)
	return m, err
}

func field(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

func (m *mqtt) add(kind byte, parts ...[]byte) {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	m.out = binary.AppendUvarint(append(m.out, kind), uint64(n)) // MQTT's lengths are written the same way
	for _, p := range parts {
		m.out = append(m.out, p...)
	}
}

func (m *mqtt) flush() error {
	_, err := m.Write(m.out)
	m.out = m.out[:0]
	return err
}

// want is the body of the next packet, which must be of a kind.
func (m *mqtt) want(kind byte) ([]byte, error) {
	got, err := m.in.ReadByte()
	if err != nil {
		return nil, err
	}
	n, err := binary.ReadUvarint(m.in)
	if err != nil {
		return nil, err
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(m.in, body); err != nil {
		return nil, err
	}
	if got&0xF0 != kind&0xF0 {
		return nil, fmt.Errorf("MQTT packet %#x instead of %#x", got, kind)
	}
	return body, nil
}

func (m *mqtt) subscribe(topic string) error {
	m.add(mqttSubscribe, []byte{0, 1}, field(topic), []byte{1})
	if err := m.flush(); err != nil {
		return err
	}
	_, err := m.want(mqttSuback)
	return err
}

// publish leaves n messages and waits for their receipts.
func (m *mqtt) publish(topic string, n int) error {
	w := newWindow(inFlight)
	head, body := field(topic), []byte(text(frameSize))
	return atOnce(2, func(side int) error {
		for i := range n {
			if side == 1 {
				if _, err := m.want(mqttPuback); err != nil {
					return err
				}
				w.got(i == n-1)
				continue
			}
			if err := w.sent(i); err != nil {
				return err
			}
			m.add(mqttPublish, head, binary.BigEndian.AppendUint16(nil, uint16(1+i%60_000)), body)
			if err := m.flush(); err != nil {
				return err
			}
		}
		return nil
	})
}

var sessions atomic.Int64

// mqttDrain fills the queue of a session that is away and times its return.
func mqttDrain(addr string, n int) (time.Duration, error) {
	// New names each time: mosquitto need not have read the last receipts yet.
	name := fmt.Sprintf("receiver%d", sessions.Add(1))
	receiver, err := mqttJoin(addr, name, false)
	if err != nil {
		return 0, err
	}
	if err := errors.Join(receiver.subscribe(name), receiver.Close()); err != nil {
		return 0, err
	}
	sender, err := mqttJoin(addr, "sender", true)
	if err != nil {
		return 0, err
	}
	if err := errors.Join(sender.publish(name, n), sender.Close()); err != nil {
		return 0, err
	}
	start := time.Now()
	if receiver, err = mqttJoin(addr, name, false); err != nil {
		return 0, err
	}
	defer receiver.Close()
	for i := range n {
		body, err := receiver.want(mqttPublish)
		if err != nil {
			return 0, err
		}
		topic := int(binary.BigEndian.Uint16(body))
		receiver.add(mqttPuback, body[2+topic:4+topic])
		if i%ackEvery == ackEvery-1 || i == n-1 {
			if err := receiver.flush(); err != nil {
				return 0, err
			}
		}
	}
	return time.Since(start), nil
}
