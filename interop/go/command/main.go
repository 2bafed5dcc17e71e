// A client for portico's interop tests that speaks the native profile of its commands, over WebSocket (gorilla/websocket) and TCP. Written
// from docs/reference/command-protocol.md, not from any code.
//
//	peer [-tcp] <what> host:port
//
// What is to be done is done once and checked, and "ok <what was seen>" printed:
//
//	talk      messages, volatile ones, heartbeats, acknowledgements, calls both ways, streams, cancelling
//	rooms     two clients, who join, speak, change and leave
//	resume    loses its connection while messages are on their way in both directions, and misses none of them
//	takeover  resumes while the old connection is still there
//	stranger  shows a token that nobody has given
//	hasty     sends a message before HELLO, and prints the close
//	twice     sends HELLO twice, and prints the close
//	leave     leaves for good, so that its token is worth nothing any more
//	silent    says nothing, and prints how the server ends that; -ping: heartbeats, until it was heard five times
package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/gorilla/websocket"
)

const (
	limit    = 20 * time.Second
	ackAfter = 32
	ackDelay = time.Second

	hello    = 0xfffffff0
	welcome  = 0xfffffff1
	ping     = 0xfffffff2
	pong     = 0xfffffff3
	ack      = 0xfffffff4
	seq      = 0xfffffff5
	goodbye  = 0xfffffff6
	volatile = 0xfffffff7
	call     = 0xfffffff8
	reply    = 0xfffffff9
	cancel   = 0xfffffffa
	credit   = 0xfffffffb
	room     = 0xffffffe4
	presence = 0xffffffe5
	join     = 0xffffffe1
	leave    = 0xffffffe2
	state    = 0xffffffe3
)

var (
	isTCP    = flag.Bool("tcp", false, "over TCP in place of WebSocket")
	isPinger = flag.Bool("ping", false, "for silent: send heartbeats")
)

// A transport carries whole messages.
type transport interface {
	read() ([]byte, error)
	write(message []byte) error
	cut() // As a network that fails does.
	Close() error
}

type socket struct{ *websocket.Conn }

func (s socket) read() ([]byte, error) {
	kind, message, err := s.ReadMessage()
	if err == nil && kind != websocket.BinaryMessage {
		err = fmt.Errorf("a message of kind %d", kind)
	}
	return message, err
}

func (s socket) write(message []byte) error { return s.WriteMessage(websocket.BinaryMessage, message) }
func (s socket) cut()                       { cutOff(s.UnderlyingConn()) }

type stream struct{ net.Conn }

func (s stream) read() ([]byte, error) {
	var size uint32
	if err := binary.Read(s.Conn, binary.BigEndian, &size); err != nil {
		return nil, err
	}
	if size < 4 || size > 11<<20 {
		return nil, fmt.Errorf("size %d", size)
	}
	message := make([]byte, size)
	_, err := io.ReadFull(s.Conn, message)
	return message, err
}

func (s stream) write(message []byte) error {
	_, err := s.Conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...))
	return err
}

func (s stream) cut() { cutOff(s.Conn) }

func cutOff(conn net.Conn) {
	if tcp, isTCP := conn.(*net.TCPConn); isTCP {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}

func dial(address string) (transport, error) {
	if *isTCP {
		conn, err := net.DialTimeout("tcp", address, limit)
		if err != nil {
			return nil, err
		}
		return stream{conn}, conn.SetReadDeadline(time.Now().Add(limit))
	}
	dialer := websocket.Dialer{HandshakeTimeout: limit, Subprotocols: []string{"portico.command.1"}}
	conn, _, err := dialer.Dial("ws://"+address+"/", nil)
	if err != nil {
		return nil, err
	}
	if conn.Subprotocol() != "portico.command.1" {
		return nil, fmt.Errorf("subprotocol %q", conn.Subprotocol())
	}
	return socket{conn}, conn.SetReadDeadline(time.Now().Add(limit))
}

type welcomeOf struct {
	ID, Token                string
	Recovered                bool
	Received                 uint32
	HeartbeatMs, RetentionMs int
	MaxPayloadBytes          int
	Rooms                    []string
}

// A farewell is what the server says before it closes.
type farewell struct {
	Status       int
	Reason       string
	RetryAfterMs *int
	IsFatal      bool
}

func (f farewell) Error() string { return fmt.Sprintf("%d %s", f.Status, f.Reason) }

type numbered struct {
	number  uint32
	message []byte
}

// A client is one that may have many connections, one after the other.
type client struct {
	address string
	conn    transport
	welcome welcomeOf
	// Of the last counted message that came, and of the next one to come.
	received, next uint32
	// Of the last counted message sent, and those that are not acknowledged.
	sent            uint32
	kept            []numbered
	unacknowledged  int
	ackDue          time.Time
	repeated, acked int
	calls           uint32
}

type message struct {
	id      uint32
	payload []byte
}

func encode(numbers []uint32, payload []byte) []byte {
	var out []byte
	for _, number := range numbers {
		out = binary.BigEndian.AppendUint32(out, number)
	}
	return append(out, payload...)
}

func isCounted(id uint32) bool { return id < hello || id > volatile }

func open(address string) (*client, error) {
	c := &client{address: address}
	return c, c.connect(map[string]any{"v": 1})
}

// connect says HELLO, and what belongs to it when there is a token.
func (c *client) connect(words map[string]any) error {
	conn, err := dial(c.address)
	if err != nil {
		return err
	}
	c.conn = conn
	if c.welcome.Token != "" {
		words["token"] = c.welcome.Token
		words["received"] = c.received
		if words["oldest"] = c.sent + 1; len(c.kept) > 0 {
			words["oldest"] = c.kept[0].number
		}
	}
	text, err := json.Marshal(words)
	if err != nil {
		return err
	}
	if err := c.conn.write(encode([]uint32{hello}, text)); err != nil {
		return err
	}
	got, err := c.receive()
	if err != nil {
		return err
	}
	if got.id != welcome {
		return fmt.Errorf("expected WELCOME, given %x", got.id)
	}
	c.welcome = welcomeOf{}
	if err := json.Unmarshal(got.payload, &c.welcome); err != nil {
		return err
	}
	if !c.welcome.Recovered {
		c.received, c.next, c.sent, c.kept, c.unacknowledged = 0, 1, 0, nil, 0
		return nil
	}
	return c.repeat()
}

// repeat sends again what the server lacks.
func (c *client) repeat() error {
	c.forget(c.welcome.Received)
	first := c.sent + 1
	if len(c.kept) > 0 {
		first = c.kept[0].number
	}
	if err := c.conn.write(encode([]uint32{seq, first}, nil)); err != nil {
		return err
	}
	for _, each := range c.kept {
		if err := c.conn.write(each.message); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) forget(upTo uint32) {
	for len(c.kept) > 0 && c.kept[0].number <= upTo {
		c.kept = c.kept[1:]
	}
}

// send keeps what is counted until it is acknowledged; a connection that is lost takes nothing away.
func (c *client) send(bytes []byte) error {
	if isCounted(binary.BigEndian.Uint32(bytes)) {
		c.sent++
		c.kept = append(c.kept, numbered{c.sent, bytes})
	}
	return c.conn.write(bytes)
}

func (c *client) say(id uint32, text string) error { return c.send(encode([]uint32{id}, []byte(text))) }

func (c *client) call(id uint32, payload string) (uint32, error) {
	c.calls++
	return c.calls, c.send(encode([]uint32{call, c.calls, id}, []byte(payload)))
}

// receive does what the protocol wants, and returns what is for the program; a GOODBYE is an error of type farewell.
func (c *client) receive() (message, error) {
	for {
		bytes, err := c.conn.read()
		if err != nil {
			return message{}, err
		}
		if len(bytes) < 4 {
			return message{}, errors.New("a message without an id")
		}
		got := message{binary.BigEndian.Uint32(bytes), bytes[4:]}
		isNew, err := c.count(got.id)
		if err != nil {
			return got, err
		}
		if !isNew {
			c.repeated++
			continue
		}
		isDone, err := c.control(got)
		if err != nil || !isDone {
			return got, err
		}
	}
}

func (c *client) count(id uint32) (bool, error) {
	if !isCounted(id) {
		return true, nil
	}
	number := c.next
	c.next++
	if number <= c.received {
		return false, nil
	}
	if number != c.received+1 {
		return false, fmt.Errorf("message %d came after %d", number, c.received)
	}
	c.received = number
	if c.unacknowledged++; c.unacknowledged == 1 {
		c.ackDue = time.Now().Add(ackDelay)
	}
	if c.unacknowledged < ackAfter && time.Now().Before(c.ackDue) {
		return true, nil
	}
	c.unacknowledged = 0
	return true, c.conn.write(encode([]uint32{ack, c.received}, nil))
}

// control is true for what is not for the program.
func (c *client) control(got message) (bool, error) {
	switch got.id {
	case ping:
		return true, c.conn.write(encode([]uint32{pong}, got.payload))
	case ack:
		c.acked++
		c.forget(binary.BigEndian.Uint32(got.payload))
		return true, nil
	case seq:
		c.next = binary.BigEndian.Uint32(got.payload)
		return true, nil
	case goodbye:
		var why farewell
		if err := json.Unmarshal(got.payload, &why); err != nil {
			return false, err
		}
		return false, why
	}
	return false, nil
}

func (c *client) expect(id uint32, payload string) error {
	got, err := c.receive()
	if err != nil {
		return err
	}
	if got.id != id || string(got.payload) != payload {
		return fmt.Errorf("expected %x %q, given %x %q", id, payload, got.id, got.payload)
	}
	return nil
}

// expectReply takes the next message for the answer to a call.
func (c *client) expectReply(number uint32, kind byte, payload string) error {
	return c.expect(reply, string(append(encode([]uint32{number}, nil), append([]byte{kind}, payload...)...)))
}

// expectError returns the data of an error that answers a call.
func (c *client) expectError(number uint32, code string) (json.RawMessage, error) {
	got, err := c.receive()
	if err != nil {
		return nil, err
	}
	var failure struct {
		Code, Message string
		Data          json.RawMessage
	}
	if got.id != reply || len(got.payload) < 5 || binary.BigEndian.Uint32(got.payload) != number || got.payload[4] != 1 {
		return nil, fmt.Errorf("expected an error for call %d, given %x %q", number, got.id, got.payload)
	}
	if err := json.Unmarshal(got.payload[5:], &failure); err != nil {
		return nil, err
	}
	if failure.Code != code {
		return nil, fmt.Errorf("expected %s, given %s %s", code, failure.Code, failure.Message)
	}
	return failure.Data, nil
}

// part is how a client leaves for good.
func (c *client) part() error {
	if *isTCP {
		if err := c.conn.write(encode([]uint32{goodbye}, []byte(`{"status":1000,"reason":"done"}`))); err != nil {
			return err
		}
	} else if s, isSocket := c.conn.(socket); isSocket {
		body := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "done")
		if err := s.WriteControl(websocket.CloseMessage, body, time.Now().Add(limit)); err != nil {
			return err
		}
	}
	for {
		if _, err := c.conn.read(); err != nil {
			return c.conn.Close()
		}
	}
}

// ending is how a connection ends that the server closes: what GOODBYE says, and the status of a WebSocket.
func (c *client) ending() (string, error) {
	for {
		_, err := c.receive()
		if err == nil {
			continue
		}
		var why farewell
		if !errors.As(err, &why) {
			return "", err
		}
		_, err = c.conn.read()
		var closed *websocket.CloseError
		if errors.As(err, &closed) && closed.Code != why.Status {
			return "", fmt.Errorf("GOODBYE %d, but close %d", why.Status, closed.Code)
		}
		if !*isTCP && closed == nil || err == nil {
			return "", fmt.Errorf("no close: %w", err)
		}
		return fmt.Sprintf("%d fatal %v", why.Status, why.IsFatal), nil
	}
}

func ok(words ...any) error {
	fmt.Println(append([]any{"ok"}, words...)...)
	return nil
}

func main() {
	flag.Parse()
	things := map[string]func(string) error{
		"talk": talk, "rooms": rooms, "resume": resume, "takeover": takeover, "stranger": stranger,
		"hasty": hasty, "twice": twice, "leave": leaveForGood, "silent": silent,
	}
	thing := things[flag.Arg(0)]
	if thing == nil || flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "expected something to do, and where")
		os.Exit(2)
	}
	if err := thing(flag.Arg(1)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
