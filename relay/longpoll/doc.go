// Package longpoll carries a connection over plain HTTP requests, for networks that let
// no WebSocket through (relay.md §13). What goes over it are the bytes that would go over
// the socket, in both directions, so both ends speak on as they always do.
//
// A stream counts its bytes. A POST says at which byte its body begins, so it can be
// repeated when its answer was lost; a GET asks for what comes from a byte on, and has
// taken what is before it. So a request, an answer or a connection may be lost without a
// byte being lost or coming twice. Both directions are bounded: who does not take what is
// there gets no more.
//
// Conn is the relay's end, Stream the client's. Neither knows what it carries.
package longpoll
