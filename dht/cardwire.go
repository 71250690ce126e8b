package dht

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"amesh/identity"
	"amesh/internal/wire"
)

// CardsProtocol is the libp2p protocol over which cards are left and asked for
// (cards.md §4). A stream carries one request and one answer, each as LP32.
const CardsProtocol = "/amesh/cards/1"

const (
	// maxCardFrame is the longest request: a card behind its kind.
	maxCardFrame = 1 + 2 + identity.MaxCardSize
	// maxAnswer is the longest answer that an asker reads.
	maxAnswer = 1 << 20

	maxQueryID       = 128
	maxQueryCategory = 64
)

// The kinds of a request.
const (
	askCards  = 1 // flags u8 ‖ LP8(id) ‖ LP8(category)
	leaveCard = 2 // LP16(card)
)

const exactFlag = 1

// cardCode is the first byte of an answer. The list only grows.
type cardCode uint8

const (
	cardsHere    cardCode = 0 // more bool ‖ count u8 ‖ each LP16(card), or until i64
	cardBad      cardCode = 1 // the request breaks the rules
	cardRefused  cardCode = 2 // the card does not verify or hold
	cardStale    cardCode = 3 // a newer card of the agent is here
	cardFull     cardCode = 4 // no room, or none for this network
	cardTooOften cardCode = 5
)

var (
	// ErrCard reports a card that a server refused, or that is none.
	ErrCard = errors.New("agent card refused")
	// ErrStaleCard reports a card where a newer one is known.
	ErrStaleCard = errors.New("stale_card")
	// ErrCardsFull reports a server without room for another card.
	ErrCardsFull = errors.New("no room for the agent card")
	// ErrTooOften reports a server that wants to be asked less.
	ErrTooOften = errors.New("asked too often")
)

// err is what an answer's code means to the one who asked.
func (c cardCode) err() error {
	switch c {
	case cardsHere:
		return nil
	case cardRefused:
		return ErrCard
	case cardStale:
		return ErrStaleCard
	case cardFull:
		return ErrCardsFull
	case cardTooOften:
		return ErrTooOften
	}
	return fmt.Errorf("%w: code %d", wire.ErrMalformed, c)
}

// codeOf is the code for what a keeper of cards said.
func codeOf(err error) cardCode {
	switch {
	case err == nil:
		return cardsHere
	case errors.Is(err, ErrStaleCard):
		return cardStale
	case errors.Is(err, ErrCardsFull):
		return cardFull
	}
	return cardRefused
}

func writeFrame(to io.Writer, body []byte) error {
	_, err := to.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	return err
}

func readFrame(from io.Reader, max int) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(from, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n == 0 || int64(n) > int64(max) {
		return nil, fmt.Errorf("%w: frame of %d bytes, at most %d", wire.ErrMalformed, n, max)
	}
	body := make([]byte, n)
	_, err := io.ReadFull(from, body)
	return body, err
}

func encodeAsk(q Query) []byte {
	w := wire.NewWriter(64)
	w.U8(askCards)
	flags := uint8(0)
	if q.Exact {
		flags |= exactFlag
	}
	w.U8(flags)
	w.LP8([]byte(q.ID))
	w.LP8([]byte(q.Category))
	return w.Bytes()
}

func encodeLeave(card []byte) []byte {
	w := wire.NewWriter(len(card) + 3)
	w.U8(leaveCard)
	w.LP16(card)
	return w.Bytes()
}

// cardRequest is what a server read: a card, or a query where that is nil.
type cardRequest struct {
	query Query
	card  []byte
}

func parseCardRequest(raw []byte) (req cardRequest, err error) {
	r := wire.NewReader(raw)
	switch kind := r.U8(); kind {
	case askCards:
		flags := r.U8()
		if flags > exactFlag {
			r.Fail("flags %d", flags)
		}
		req.query = Query{Exact: flags == exactFlag, ID: string(r.LP8(maxQueryID)), Category: string(r.LP8(maxQueryCategory))}
		if err := r.Done(); err != nil {
			return req, err
		}
		return req, req.query.check()
	case leaveCard:
		req.card = r.LP16(identity.MaxCardSize)
		if len(req.card) == 0 {
			r.Fail("no card")
		}
	default:
		r.Fail("request %d", kind)
	}
	return req, r.Done()
}

// encodeCards makes an answer of as many of cards as fit into count and size.
func encodeCards(cards [][]byte, more bool, count, size int) []byte {
	room := size - 3
	n := 0
	for n < len(cards) && n < count && len(cards[n])+2 <= room {
		room -= len(cards[n]) + 2
		n++
	}
	w := wire.NewWriter(size - room)
	w.U8(uint8(cardsHere))
	w.Bool(more || n < len(cards))
	w.U8(uint8(n))
	for _, c := range cards[:n] {
		w.LP16(c)
	}
	return w.Bytes()
}

// parseCards reads an answer to a query: the cards as they came, and whether there
// are more.
func parseCards(raw []byte) (cards [][]byte, more bool, err error) {
	r := wire.NewReader(raw)
	if code := cardCode(r.U8()); code != cardsHere {
		return nil, false, errors.Join(code.err(), r.Done())
	}
	more = r.Bool()
	for range r.U8() {
		if r.Err() != nil {
			break
		}
		cards = append(cards, r.LP16(identity.MaxCardSize))
	}
	return cards, more, r.Done()
}

func encodeKept(until time.Time) []byte {
	w := wire.NewWriter(9)
	w.U8(uint8(cardsHere))
	w.I64(until.Unix())
	return w.Bytes()
}

func parseKept(raw []byte) error {
	r := wire.NewReader(raw)
	code := cardCode(r.U8())
	if code == cardsHere {
		r.I64()
	}
	return errors.Join(code.err(), r.Done())
}
