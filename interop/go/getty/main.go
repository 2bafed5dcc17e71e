// A peer for portico's interop tests that is getty itself: github.com/apache/dubbo-getty.
//
//	peer server -transport tcp|udp|ws|wss -address 127.0.0.1:0 [-cert file -key file] [-compress none|zip|speed|best|huffman|snappy]
//	peer client -transport tcp|udp|ws|wss -address host:port   [-cert file] [-compress …] [-packages 100] [-max-bytes 3000] [-seed 1] [-one-way]
//
// A package is a message of a WebSocket, a datagram, or 4 bytes of length, big end first, and so many bytes on TCP. The server echoes
// and prints "listening <address>". The client sends one package after the other, checks what comes back, closes, prints
// "ok <packages> <bytes>", and ends when its input does. With -one-way it waits for no answers.
package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"sync"
	"time"

	getty "github.com/apache/dubbo-getty"
)

const (
	limit       = 30 * time.Second
	maxMsgBytes = 1 << 20
	path        = "/echo"
)

var compressTypes = map[string]getty.CompressType{
	"none":    getty.CompressNone,
	"zip":     getty.CompressZip,
	"speed":   getty.CompressBestSpeed,
	"best":    getty.CompressBestCompression,
	"huffman": getty.CompressHuffman,
	"snappy":  getty.CompressSnappy,
}

type settings struct {
	transport, address, cert, key, compress string
	packages, maxBytes                      int
	seed                                    int64
	isOneWay                                bool
}

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("expected server or client"))
	}
	var s settings
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	flags.StringVar(&s.transport, "transport", "tcp", "tcp, udp, ws or wss")
	flags.StringVar(&s.address, "address", "127.0.0.1:0", "where to listen or to dial")
	flags.StringVar(&s.cert, "cert", "", "certificate of wss")
	flags.StringVar(&s.key, "key", "", "its key")
	flags.StringVar(&s.compress, "compress", "", "nothing, none, zip, speed, best, huffman or snappy")
	flags.IntVar(&s.packages, "packages", 100, "how many")
	flags.IntVar(&s.maxBytes, "max-bytes", 3000, "of a package")
	flags.Int64Var(&s.seed, "seed", 1, "of the sizes and the bytes")
	flags.BoolVar(&s.isOneWay, "one-way", false, "wait for no answers")
	_ = flags.Parse(os.Args[2:])
	getty.SetLogger(silent{})
	switch os.Args[1] {
	case "server":
		fail(serve(s))
	case "client":
		fail(dial(s))
	default:
		fail(fmt.Errorf("expected server or client, given %s", os.Args[1]))
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// silent is a logger: standard output is for results.
type silent struct{}

func (silent) Debug(...interface{})          {}
func (silent) Debugf(string, ...interface{}) {}
func (silent) Info(...interface{})           {}
func (silent) Infof(string, ...interface{})  {}
func (silent) Warn(...interface{})           {}
func (silent) Warnf(string, ...interface{})  {}
func (silent) Error(...interface{})          {}
func (silent) Errorf(string, ...interface{}) {}

// codec is the PkgHandler. isStream: packages have their length in front.
type codec struct{ isStream bool }

func (c codec) Read(_ getty.Session, data []byte) (interface{}, int, error) {
	// getty uses its buffer again, so the package must own its bytes.
	if !c.isStream {
		return append([]byte{}, data...), len(data), nil
	}
	if len(data) < 4 {
		return nil, 0, nil
	}
	size := int(binary.BigEndian.Uint32(data))
	if size > maxMsgBytes {
		return nil, 0, fmt.Errorf("a package of %d bytes", size)
	}
	if len(data) < 4+size {
		return nil, 0, nil
	}
	return append([]byte{}, data[4:4+size]...), 4 + size, nil
}

func (c codec) Write(_ getty.Session, pkg interface{}) ([]byte, error) {
	if context, ok := pkg.(getty.UDPContext); ok {
		pkg = context.Pkg
	}
	body, ok := pkg.([]byte)
	if !ok {
		return nil, fmt.Errorf("expected bytes, given %T", pkg)
	}
	if !c.isStream {
		return body, nil
	}
	out := make([]byte, 4+len(body))
	binary.BigEndian.PutUint32(out, uint32(len(body)))
	copy(out[4:], body)
	return out, nil
}

// listener calls its functions; those that are nil are for nothing.
type listener struct {
	onOpen    func(getty.Session)
	onMessage func(getty.Session, interface{})
	onEnd     func(error)
}

func (l *listener) OnOpen(session getty.Session) error {
	if l.onOpen != nil {
		l.onOpen(session)
	}
	return nil
}
func (l *listener) OnMessage(session getty.Session, pkg interface{}) { l.onMessage(session, pkg) }
func (l *listener) OnCron(getty.Session)                             {}
func (l *listener) OnError(_ getty.Session, err error) {
	if l.onEnd != nil {
		l.onEnd(err)
	}
}
func (l *listener) OnClose(getty.Session) {
	if l.onEnd != nil {
		l.onEnd(errors.New("the session was closed"))
	}
}

func setUp(s settings, l *listener) getty.NewSessionCallback {
	return func(session getty.Session) error {
		session.SetMaxMsgLen(maxMsgBytes)
		// A close is noticed when a read times out.
		session.SetReadTimeout(20 * time.Millisecond)
		if s.compress != "" {
			kind, ok := compressTypes[s.compress]
			if !ok {
				return fmt.Errorf("no compression %s", s.compress)
			}
			session.SetCompressType(kind)
		}
		session.SetPkgHandler(codec{isStream: s.transport == "tcp"})
		session.SetEventListener(l)
		return nil
	}
}

func serve(s settings) error {
	echo := &listener{onMessage: func(session getty.Session, pkg interface{}) {
		if _, _, err := session.WritePkg(pkg, limit); err != nil {
			fmt.Fprintln(os.Stderr, "echo:", err)
		}
	}}
	address := getty.WithLocalAddress(s.address)
	var server getty.Server
	switch s.transport {
	case "tcp":
		server = getty.NewTCPServer(address)
	case "udp":
		server = getty.NewUDPEndPoint(address)
	case "ws":
		server = getty.NewWSServer(address, getty.WithWebsocketServerPath(path))
	case "wss":
		certificate, key := getty.WithWebsocketServerCert(s.cert), getty.WithWebsocketServerPrivateKey(s.key)
		server = getty.NewWSSServer(address, getty.WithWebsocketServerPath(path), certificate, key)
	default:
		return fmt.Errorf("no transport %s", s.transport)
	}
	server.RunEventLoop(setUp(s, echo))
	fmt.Println("listening", addressOf(server))
	select {}
}

func addressOf(server getty.Server) net.Addr {
	if packets, ok := server.(getty.PacketServer); ok && packets.PacketConn() != nil {
		return packets.PacketConn().LocalAddr()
	}
	return server.(getty.StreamServer).Listener().Addr()
}

func dial(s settings) error {
	var once sync.Once
	opened := make(chan getty.Session, 1)
	replies := make(chan []byte, 1)
	ended := make(chan error, 1)
	l := &listener{
		onOpen: func(session getty.Session) { once.Do(func() { opened <- session }) },
		onMessage: func(_ getty.Session, pkg interface{}) {
			if context, ok := pkg.(getty.UDPContext); ok {
				pkg = context.Pkg
			}
			replies <- pkg.([]byte)
		},
		onEnd: func(err error) {
			select {
			case ended <- err:
			default:
			}
		},
	}
	number := getty.WithConnectionNumber(1)
	var client getty.Client
	switch s.transport {
	case "tcp":
		client = getty.NewTCPClient(number, getty.WithServerAddress(s.address))
	case "udp":
		client = getty.NewUDPClient(number, getty.WithServerAddress(s.address))
	case "ws":
		client = getty.NewWSClient(number, getty.WithServerAddress("ws://"+s.address+path))
	case "wss":
		client = getty.NewWSSClient(number, getty.WithServerAddress("wss://"+s.address+path), getty.WithRootCertificateFile(s.cert))
	default:
		return fmt.Errorf("no transport %s", s.transport)
	}
	go client.RunEventLoop(setUp(s, l))

	timer := time.After(limit)
	var session getty.Session
	select {
	case session = <-opened:
	case <-timer:
		return errors.New("no connection")
	}
	random := rand.New(rand.NewSource(s.seed))
	total := 0
	for index := 0; index < s.packages; index++ {
		body := make([]byte, 1+random.Intn(s.maxBytes))
		random.Read(body)
		var pkg interface{} = body
		if s.transport == "udp" {
			pkg = getty.UDPContext{Pkg: body}
		}
		if _, _, err := session.WritePkg(pkg, limit); err != nil {
			return fmt.Errorf("package %d: %w", index, err)
		}
		if s.isOneWay {
			total += len(body)
			continue
		}
		select {
		case reply := <-replies:
			if !bytes.Equal(reply, body) {
				return fmt.Errorf("package %d of %d bytes came back as %d others", index, len(body), len(reply))
			}
			total += len(reply)
		case err := <-ended:
			return fmt.Errorf("package %d: %w", index, err)
		case <-timer:
			return fmt.Errorf("package %d did not come back", index)
		}
	}
	client.Close()
	fmt.Println("ok", s.packages, total)
	// getty closes the connection some time after it has said so.
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}
