// A peer for portico's interop tests that speaks packets with an action and a seq, over TCP and WebSocket, with JSON and protobuf
// bodies. Written from the description of the format, not from any code.
//
//	peer -address 127.0.0.1:8081 [-websocket] [-format json|protobuf] [-requests 1000]
//
// A packet is: int16 action, int16 seq, body; over TCP with an int32 length in front that counts its own 4 bytes. The server adds
// numbers (action 1: a, b -> sum), pushes what it is told to (action -32768: text -> push 101), and knows no other action.
//
// It sends all its requests in one go, over TCP one of them byte by byte, and prints "ok <replies> <error replies> <pushes>" when it
// got exactly what it should.
package main

import (
	"bytes"
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
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

const limit = 20 * time.Second

type packet struct {
	action, seq int16
	body        []byte
}

// A transport carries whole packets without their length.
type transport interface {
	read() ([]byte, error)
	write(messages [][]byte) error
	writeSlowly(message []byte) error
}

type stream struct{ net.Conn }

func (s stream) read() ([]byte, error) {
	var length int32
	if err := binary.Read(s.Conn, binary.BigEndian, &length); err != nil {
		return nil, err
	}
	if length < 8 || length > 1<<20 {
		return nil, fmt.Errorf("length %d", length)
	}
	message := make([]byte, length-4)
	_, err := io.ReadFull(s.Conn, message)
	return message, err
}

func frame(message []byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(len(message)+4))
	return append(out, message...)
}

func (s stream) write(messages [][]byte) error {
	var out []byte
	for _, message := range messages {
		out = append(out, frame(message)...)
	}
	_, err := s.Conn.Write(out)
	return err
}

func (s stream) writeSlowly(message []byte) error {
	for _, each := range frame(message) {
		if _, err := s.Conn.Write([]byte{each}); err != nil {
			return err
		}
	}
	return nil
}

type socket struct{ *websocket.Conn }

func (s socket) read() ([]byte, error) {
	kind, message, err := s.ReadMessage()
	if err == nil && kind != websocket.BinaryMessage {
		err = fmt.Errorf("message of kind %d", kind)
	}
	return message, err
}

func (s socket) write(messages [][]byte) error {
	for _, message := range messages {
		if err := s.WriteMessage(websocket.BinaryMessage, message); err != nil {
			return err
		}
	}
	return nil
}

func (s socket) writeSlowly(message []byte) error { return s.write([][]byte{message}) }

// A codec turns bodies into values that all formats have.
type codec struct {
	encode func(map[string]any) ([]byte, error)
	decode func([]byte) (map[string]any, error)
}

var codecs = map[string]codec{
	"json": {
		encode: func(value map[string]any) ([]byte, error) { return json.Marshal(value) },
		decode: func(body []byte) (value map[string]any, err error) { err = json.Unmarshal(body, &value); return },
	},
	"protobuf": {
		encode: func(value map[string]any) ([]byte, error) {
			message, err := structpb.NewStruct(value)
			if err != nil {
				return nil, err
			}
			return proto.Marshal(message)
		},
		decode: func(body []byte) (map[string]any, error) {
			var message structpb.Struct
			err := proto.Unmarshal(body, &message)
			return message.AsMap(), err
		},
	},
}

func (p packet) bytes() []byte {
	var out bytes.Buffer
	_ = binary.Write(&out, binary.BigEndian, []int16{p.action, p.seq})
	out.Write(p.body)
	return out.Bytes()
}

func parse(message []byte) (packet, error) {
	if len(message) < 4 {
		return packet{}, errors.New("a packet without a head")
	}
	return packet{
		action: int16(binary.BigEndian.Uint16(message)),
		seq:    int16(binary.BigEndian.Uint16(message[2:])),
		body:   message[4:],
	}, nil
}

// requests has sums with all kinds of seqs, one push, one unknown action and one body that is refused.
func requests(count int, format codec) ([][]byte, error) {
	var messages [][]byte
	add := func(action, seq int16, value map[string]any) error {
		body, err := format.encode(value)
		messages = append(messages, packet{action, seq, body}.bytes())
		return err
	}
	for index := 0; index < count; index++ {
		if err := add(1, int16(index-count/2), map[string]any{"a": index, "b": 1000}); err != nil {
			return nil, err
		}
	}
	if err := add(-32768, 32767, map[string]any{"text": "grüße"}); err != nil {
		return nil, err
	}
	if err := add(77, 32766, map[string]any{}); err != nil {
		return nil, err
	}
	return append(messages, packet{1, 32765, []byte{0xff, 0x00}}.bytes()), nil
}

// A refusal is in JSON whatever the format is.
type refusal struct {
	Action int16
	Code   string
}

func run(conn transport, count int, format codec) error {
	messages, err := requests(count, format)
	if err != nil {
		return err
	}
	go func() {
		if err := conn.writeSlowly(messages[0]); err == nil {
			_ = conn.write(messages[1:])
		}
	}()
	replies, refusals, pushes := 0, 0, 0
	for replies+refusals < len(messages) || pushes == 0 {
		message, err := conn.read()
		if err != nil {
			return fmt.Errorf("after %d replies: %w", replies, err)
		}
		got, err := parse(message)
		if err != nil {
			return err
		}
		if got.action == -2 {
			var why refusal
			if err := json.Unmarshal(got.body, &why); err != nil {
				return err
			}
			wanted := map[int16]refusal{32766: {77, "NOT_FOUND"}, 32765: {1, "INVALID"}}[got.seq]
			if why != wanted {
				return fmt.Errorf("seq %d was refused with %v", got.seq, why)
			}
			refusals++
			continue
		}
		value, err := format.decode(got.body)
		if err != nil {
			return err
		}
		switch {
		case got.action == 101 && got.seq == 1 && value["text"] == "grüße":
			pushes++
		case got.action == -32768 && got.seq == 32767:
			replies++
		case got.action == 1 && value["sum"] == float64(int(got.seq)+count/2+1000):
			replies++
		default:
			return fmt.Errorf("unexpected packet %d %d %v", got.action, got.seq, value)
		}
	}
	fmt.Println("ok", replies, refusals, pushes)
	return nil
}

func dial(address string, isWebSocket bool) (transport, error) {
	if isWebSocket {
		conn, _, err := websocket.DefaultDialer.Dial("ws://"+address+"/", nil)
		if err != nil {
			return nil, err
		}
		return socket{conn}, conn.SetReadDeadline(time.Now().Add(limit))
	}
	conn, err := net.DialTimeout("tcp", address, limit)
	if err != nil {
		return nil, err
	}
	return stream{conn}, conn.SetDeadline(time.Now().Add(limit))
}

func main() {
	address := flag.String("address", "", "where to dial")
	isWebSocket := flag.Bool("websocket", false, "over WebSocket in place of TCP")
	format := flag.String("format", "json", "json or protobuf")
	count := flag.Int("requests", 1000, "how many sums to ask for; even")
	flag.Parse()
	conn, err := dial(*address, *isWebSocket)
	if err == nil {
		err = run(conn, *count, codecs[*format])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
