// A client for portico's interop tests that speaks knet's commands over WebSocket, on gorilla/websocket. Written from the description of
// the format, not from any code.
//
//	peer [-origin https://...] [-seed 1] <what> ws://host:port/ws [arguments]
//
// One message is: uint32 command, payload; big-endian, binary. Command ffffffff carries JSON-RPC 2.0, fffffffe its errors. What is to be
// done is done once and checked, and "ok <what was seen>" printed:
//
//	echo                       sends commands of many ids and sizes, up to 10 MiB, and expects each back
//	ignored                    sends a command that nobody handles, and expects only the echo of the next one
//	text <text>                sends a text message of command 1, and prints the answer or the close
//	malformed <bytes>          sends a message of so many bytes, and prints the close
//	huge <bytes> [fragments]   sends a payload of so many bytes, and prints the close
//	flood <messages>           sends so many at once, goes on sending, and prints how many came back, and the close
//	ping <text>                pings, and expects the same text in a pong
//	await-pings <count>        says nothing for so many pings, and is then still there
//	close <code> <reason>      closes, and prints the close that comes back
//	closed <command>           sends the command, and prints how many messages came before the close, and the close
//	broadcast <clients> <n>    connects so many, sends command 2 n times, and expects that each gets all, in order
//	rpc                        calls, is refused in all ways, notifies
//	stress [flags]             see stress.go
package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

const (
	limit           = 30 * time.Second
	maxPayloadBytes = 10 << 20
)

var (
	origin = flag.String("origin", "", "the Origin header; none by default, as programs that are no browser")
	seed   = flag.Int64("seed", 1, "of the bytes")
)

type client struct{ *websocket.Conn }

func dial(url string) (client, error) {
	header := http.Header{}
	if *origin != "" {
		header.Set("Origin", *origin)
	}
	// Messages above this leave in fragments of this size.
	dialer := websocket.Dialer{HandshakeTimeout: limit, WriteBufferSize: 1024}
	conn, response, err := dialer.Dial(url, header)
	if err != nil {
		if response != nil {
			err = fmt.Errorf("%w, status %d", err, response.StatusCode)
		}
		return client{}, err
	}
	return client{conn}, conn.SetReadDeadline(time.Now().Add(limit))
}

func encode(id uint32, payload []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, id), payload...)
}

func (c client) send(id uint32, payload []byte) error {
	return c.WriteMessage(websocket.BinaryMessage, encode(id, payload))
}

func (c client) receive() (uint32, []byte, error) {
	kind, message, err := c.ReadMessage()
	if err != nil {
		return 0, nil, err
	}
	if kind != websocket.BinaryMessage || len(message) < 4 {
		return 0, nil, fmt.Errorf("a message of kind %d with %d bytes", kind, len(message))
	}
	return binary.BigEndian.Uint32(message), message[4:], nil
}

func (c client) expect(id uint32, payload []byte) error {
	got, bytesOf, err := c.receive()
	if err != nil {
		return err
	}
	if got != id || !bytes.Equal(bytesOf, payload) {
		return fmt.Errorf("expected command %x with %d bytes, given %x with %d", id, len(payload), got, len(bytesOf))
	}
	return nil
}

// awaitClose counts the messages that come before the close.
func (c client) awaitClose() (int, *websocket.CloseError, error) {
	for count := 0; ; count++ {
		_, _, err := c.receive()
		var closed *websocket.CloseError
		if errors.As(err, &closed) {
			return count, closed, nil
		}
		if err != nil {
			return count, nil, fmt.Errorf("after %d messages: %w", count, err)
		}
	}
}

func (c client) leave(code int, reason string) error {
	return c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(limit))
}

func ok(words ...any) error {
	fmt.Println(append([]any{"ok"}, words...)...)
	return nil
}

func (c client) printClose() error {
	_, closed, err := c.awaitClose()
	if err != nil {
		return err
	}
	return ok("closed", closed.Code, closed.Text)
}

func echo(c client) error {
	// The example of the format, spelt out.
	if err := c.WriteMessage(websocket.BinaryMessage, []byte{0, 0, 0, 1, 0x68, 0x65, 0x6c, 0x6c, 0x6f}); err != nil {
		return err
	}
	if err := c.expect(1, []byte("hello")); err != nil {
		return err
	}
	random := rand.New(rand.NewSource(*seed))
	ids := []uint32{1, 0, 0x01020304, 0x7fffffff, 0x80000000, 0xffffffe4, 0xfffffff0, 0xfffffffc, 0xfffffffd}
	count := 1
	for index, size := range []int{0, 1, 4, 121, 122, 65_531, 65_532, 1 << 20, maxPayloadBytes} {
		payload := make([]byte, size)
		random.Read(payload)
		if err := c.send(ids[index%len(ids)], payload); err != nil {
			return err
		}
		if err := c.expect(ids[index%len(ids)], payload); err != nil {
			return err
		}
		count++
	}
	return ok(count)
}

func ignored(c client) error {
	if err := c.send(77, []byte("nobody")); err != nil {
		return err
	}
	if err := c.send(1, []byte("somebody")); err != nil {
		return err
	}
	if err := c.expect(1, []byte("somebody")); err != nil {
		return err
	}
	return ok()
}

func text(c client, what string) error {
	if err := c.WriteMessage(websocket.TextMessage, encode(1, []byte(what))); err != nil {
		return err
	}
	_, payload, err := c.receive()
	var closed *websocket.CloseError
	if errors.As(err, &closed) {
		return ok("closed", closed.Code)
	}
	if err != nil {
		return err
	}
	return ok(string(payload))
}

// huge sends in one frame or in many; the server may close before it has all.
func huge(c client, size int, isFragmented bool) error {
	message := encode(1, make([]byte, size))
	go func() {
		if isFragmented {
			// The library cuts a message that it gets by and by at its buffer.
			if writer, err := c.NextWriter(websocket.BinaryMessage); err == nil {
				for err == nil && len(message) > 0 {
					part := message[:min(len(message), 1<<16)]
					message = message[len(part):]
					_, err = writer.Write(part)
				}
				_ = writer.Close()
			}
			return
		}
		prepared, err := websocket.NewPreparedMessage(websocket.BinaryMessage, message)
		if err == nil {
			_ = c.WritePreparedMessage(prepared)
		}
	}()
	return c.printClose()
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

func flood(c client, messages int) error {
	done := make(chan bool)
	go func() {
		defer close(done)
		for index := 0; ; index++ {
			if c.send(1, binary.BigEndian.AppendUint32(nil, uint32(index))) != nil {
				return
			}
			// All at once, and then on and on, as somebody does who does not listen.
			if index > messages {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	count, closed, err := c.awaitClose()
	if err != nil {
		return err
	}
	c.Close()
	<-done
	return ok(count, closed.Code, closed.Text)
}

func awaitPings(c client, wanted int) error {
	answer := c.PingHandler()
	pings := 0
	c.SetPingHandler(func(data string) error {
		if err := answer(data); err != nil {
			return err
		}
		if pings++; pings == wanted {
			return c.send(1, []byte("still here"))
		}
		return nil
	})
	if err := c.expect(1, []byte("still here")); err != nil {
		return err
	}
	return ok(pings)
}

func ping(c client, data string) error {
	got := ""
	c.SetPongHandler(func(text string) error {
		got = text
		return c.send(1, nil)
	})
	if err := c.WriteControl(websocket.PingMessage, []byte(data), time.Now().Add(limit)); err != nil {
		return err
	}
	if err := c.expect(1, nil); err != nil {
		return err
	}
	return ok(got)
}

func closed(c client, command int) error {
	if err := c.send(uint32(command), nil); err != nil {
		return err
	}
	count, end, err := c.awaitClose()
	if err != nil {
		return err
	}
	return ok(count, end.Code, end.Text)
}

func broadcast(first client, url string, count, messages int) error {
	clients := []client{first}
	for len(clients) < count {
		c, err := dial(url)
		if err != nil {
			return err
		}
		defer c.Close()
		clients = append(clients, c)
	}
	// Who has been answered is there for the server.
	for _, c := range clients {
		if err := c.send(1, nil); err != nil {
			return err
		}
		if err := c.expect(1, nil); err != nil {
			return err
		}
	}
	for index := 0; index < messages; index++ {
		if err := first.send(2, []byte(strconv.Itoa(index))); err != nil {
			return err
		}
	}
	for _, c := range clients {
		for index := 0; index < messages; index++ {
			if err := c.expect(2, []byte(strconv.Itoa(index))); err != nil {
				return err
			}
		}
	}
	return ok(count * messages)
}

func run(what, url string, arguments []string) error {
	if what == "stress" {
		return stress(url, arguments)
	}
	c, err := dial(url)
	if err != nil {
		return err
	}
	defer c.Close()
	var numbers [2]int
	for index := range numbers {
		if len(arguments) > index {
			numbers[index], _ = strconv.Atoi(arguments[index])
		}
	}
	words := strings.Join(arguments, " ")
	switch what {
	case "echo":
		err = echo(c)
	case "ignored":
		err = ignored(c)
	case "text":
		return text(c, words)
	case "malformed":
		if err := c.WriteMessage(websocket.BinaryMessage, make([]byte, numbers[0])); err != nil {
			return err
		}
		return c.printClose()
	case "huge":
		return huge(c, numbers[0], len(arguments) > 1)
	case "flood":
		return flood(c, numbers[0])
	case "ping":
		err = ping(c, words)
	case "await-pings":
		err = awaitPings(c, numbers[0])
	case "close":
		if err := c.leave(numbers[0], strings.Join(arguments[1:], " ")); err != nil {
			return err
		}
		return c.printClose()
	case "closed":
		return closed(c, numbers[0])
	case "broadcast":
		err = broadcast(c, url, numbers[0], numbers[1])
	case "rpc":
		err = rpc(c)
	default:
		return fmt.Errorf("expected something to do, given %s", what)
	}
	if err != nil {
		return err
	}
	return c.leave(websocket.CloseNormalClosure, "Client disconnect")
}

func main() {
	flag.Parse()
	if flag.NArg() < 2 {
		fmt.Fprintln(os.Stderr, "expected what to do, and where")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), flag.Arg(1), flag.Args()[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
