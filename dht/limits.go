package dht

import (
	"fmt"
	"time"
)

// Limits are the numbers of the directory. The zero value of Config.Limits means
// DefaultLimits.
type Limits struct {
	// StoreBytes bounds the records that a server keeps for others. Beyond it new
	// agents are refused and known ones may still update. Default 64 MiB.
	StoreBytes int64
	// ProviderBytes bounds what a server keeps about who provides answers to whom.
	// Default 8 MiB.
	ProviderBytes int64
	// Answers is how many answers to a lookup are compared before the newest is
	// believed. Default 4.
	Answers int
	// Mirrors is how many places besides its own a record has, and MirrorCopies how many
	// servers at each. They are used when the table has MirrorFrom servers: fewer are all
	// near to every key. Defaults 2, 8 and 20.
	Mirrors      int
	MirrorCopies int
	MirrorFrom   int
	// Seen is of how many agents the newest record is remembered that was found, so that
	// no older one is believed after it. Default 512.
	Seen int
	// Chosen is how many servers besides the bootstrap servers we keep connections to that
	// we dialled; ChooseEvery is how often that is looked after. Defaults 4 and 30 s.
	Chosen      int
	ChooseEvery time.Duration
	// Remembered is how many servers are saved for the next start, RememberEvery how often.
	// Defaults 64 and 10 min.
	Remembered    int
	RememberEvery time.Duration
	// FindTimeout bounds one lookup. Default 10 s.
	FindTimeout time.Duration
	// PutTimeout bounds one publication with its confirmation. Default 10 s.
	PutTimeout time.Duration
	// TablePoll is how often an empty routing table is looked at by those who wait
	// for it to fill; the library offers no event. Default 10 ms.
	TablePoll time.Duration
	// RepublishEvery is the longest time between two publications of a record.
	// Default 30 min.
	RepublishEvery time.Duration
	// ProbeEvery is how often a connected bootstrap server is asked for a sign of
	// life; a killed QUIC peer would go unnoticed for 30 s. Default 10 s.
	ProbeEvery time.Duration
	// ProbeTimeout is how long that sign may take. Default 2 s.
	ProbeTimeout time.Duration
	// DialTimeout bounds one attempt to reach a bootstrap server. Default 5 s.
	DialTimeout time.Duration
	// MinBackoff and MaxBackoff bound the wait between two such attempts, and
	// between two attempts at an unconfirmed record. Defaults 200 ms and 10 s.
	MinBackoff time.Duration
	MaxBackoff time.Duration
}

// DefaultLimits returns the defaults written at the fields.
func DefaultLimits() Limits {
	return Limits{
		StoreBytes:     64 << 20,
		ProviderBytes:  8 << 20,
		Answers:        4,
		Mirrors:        2,
		MirrorCopies:   8,
		MirrorFrom:     20,
		Seen:           512,
		Chosen:         4,
		ChooseEvery:    30 * time.Second,
		Remembered:     64,
		RememberEvery:  10 * time.Minute,
		FindTimeout:    10 * time.Second,
		PutTimeout:     10 * time.Second,
		TablePoll:      10 * time.Millisecond,
		RepublishEvery: 30 * time.Minute,
		ProbeEvery:     10 * time.Second,
		ProbeTimeout:   2 * time.Second,
		DialTimeout:    5 * time.Second,
		MinBackoff:     200 * time.Millisecond,
		MaxBackoff:     10 * time.Second,
	}
}

func (l Limits) check() error {
	for name, v := range map[string]int64{
		"StoreBytes": l.StoreBytes, "ProviderBytes": l.ProviderBytes, "Answers": int64(l.Answers),
		"Mirrors": int64(l.Mirrors), "MirrorCopies": int64(l.MirrorCopies), "MirrorFrom": int64(l.MirrorFrom), "Seen": int64(l.Seen),
		"Chosen": int64(l.Chosen), "ChooseEvery": int64(l.ChooseEvery), "Remembered": int64(l.Remembered), "RememberEvery": int64(l.RememberEvery),
		"FindTimeout": int64(l.FindTimeout), "PutTimeout": int64(l.PutTimeout),
		"TablePoll": int64(l.TablePoll), "RepublishEvery": int64(l.RepublishEvery),
		"ProbeEvery": int64(l.ProbeEvery), "ProbeTimeout": int64(l.ProbeTimeout),
		"DialTimeout": int64(l.DialTimeout), "MinBackoff": int64(l.MinBackoff),
	} {
		if v <= 0 {
			return fmt.Errorf("limit %s is %d, want more than 0", name, v)
		}
	}
	if l.MaxBackoff < l.MinBackoff {
		return fmt.Errorf("limit MaxBackoff %v is below MinBackoff %v", l.MaxBackoff, l.MinBackoff)
	}
	return nil
}

// HostLimits are the resources a host may use. They are set explicitly because
// the library's own limits depend on the machine and don't count loopback.
type HostLimits struct {
	// Conns bounds all connections at once. Default 512.
	Conns int
	// ConnsPerPeer bounds the connections of one peer id; two nodes that dial each
	// other over TCP and QUIC at the same time need four. Default 8.
	ConnsPerPeer int
	// ConnsPerIP bounds the connections from one IPv4 address or IPv6 /56, behind
	// which many nodes may share a NAT. Loopback counts as all of Conns. Default 64.
	ConnsPerIP int
	// Streams bounds all streams at once. Default 4096.
	Streams int
	// StreamsPerPeer bounds the streams of one peer id. Default 64.
	StreamsPerPeer int
	// MemoryPerPeer bounds the buffers of one peer id in bytes. Default 16 MiB.
	MemoryPerPeer int64
	// Memory bounds the buffers of all connections in bytes. Default 128 MiB.
	Memory int64
	// Files bounds the file descriptors used by TCP connections. Default 512.
	Files int
	// KeepLow and KeepHigh are the connection manager's marks: above KeepHigh idle
	// connections are closed until KeepLow are left. Defaults 96 and 160.
	KeepLow  int
	KeepHigh int
	// Grace protects a new connection from being closed by these marks. Default 20 s.
	Grace time.Duration
	// Reservations bounds the circuit relay's reservations when it is offered.
	// Default 128.
	Reservations int
	// ReservationsPerIP bounds those from one IP address. Default 8.
	ReservationsPerIP int
	// ReservationTime is how long a reservation holds without being renewed.
	// Default 1 h.
	ReservationTime time.Duration
	// CircuitsPerPeer bounds the circuits that end at one peer. Default 8.
	CircuitsPerPeer int
	// CircuitTime and CircuitBytes end a circuit, the bytes of either direction: it is
	// for agreeing on a direct connection, not for carrying what is said. Default
	// 2 min and 128 KiB.
	CircuitTime  time.Duration
	CircuitBytes int64
}

// DefaultHostLimits returns the defaults written at the fields.
func DefaultHostLimits() HostLimits {
	return HostLimits{
		Conns:          512,
		ConnsPerPeer:   8,
		ConnsPerIP:     64,
		Streams:        4096,
		StreamsPerPeer: 64,
		MemoryPerPeer:  16 << 20,
		Memory:         128 << 20,
		Files:          512,
		KeepLow:        96,
		KeepHigh:       160,
		Grace:          20 * time.Second,
		Reservations:   128, ReservationsPerIP: 8, ReservationTime: time.Hour,
		CircuitsPerPeer: 8, CircuitTime: 2 * time.Minute, CircuitBytes: 128 << 10,
	}
}
