// A WebSocket peer for portico's interop tests, on gorilla/websocket.
//
//	peer server -address 127.0.0.1:0 -path /echo [-cert file -key file [-ca file]] [-compress] [-subprotocols a,b] [-fragment-bytes 4000]
//	peer client -url ws://host:port/echo [-ca file [-cert file -key file]] [-compress] [-subprotocols a,b] [-seed 1] <what>
//
// The server echoes, text as text; it prints "listening <address>", and "closed <code> <reason>" for each client that went. Texts
// that begin with a slash are commands: "/close <code> <reason>" closes with them, "/subprotocol" answers with what was agreed on,
// "/ping <text>" pings and answers with the text of the pong.
//
// The client does one thing, checks it, and prints "ok <what it saw>":
//
//	echo                   sends messages of many sizes, whole and in fragments, and expects them back
//	command <text>         sends a text and prints the answer, or "closed <code> <reason>"
//	close <code> <reason>  closes, and prints the close that comes back
//	ping <text>            pings and expects the same text in a pong
//	await-ping             waits until it was pinged, and answers
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"math/rand"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

const (
	limit           = 30 * time.Second
	maxMessageBytes = 1 << 22
)

type settings struct {
	address, path, url, cert, key, ca, subprotocols string
	compress                                        bool
	fragmentBytes                                   int
	seed                                            int64
}

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("expected server or client"))
	}
	var s settings
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	flags.StringVar(&s.address, "address", "127.0.0.1:0", "where to listen")
	flags.StringVar(&s.path, "path", "/echo", "where WebSockets are")
	flags.StringVar(&s.url, "url", "", "where to dial")
	flags.StringVar(&s.cert, "cert", "", "own certificate")
	flags.StringVar(&s.key, "key", "", "its key")
	flags.StringVar(&s.ca, "ca", "", "who is trusted; a server then asks its clients for certificates")
	flags.StringVar(&s.subprotocols, "subprotocols", "", "in the order of preference, with commas between")
	flags.BoolVar(&s.compress, "compress", false, "permessage-deflate")
	flags.IntVar(&s.fragmentBytes, "fragment-bytes", 0, "echo in fragments of this size")
	flags.Int64Var(&s.seed, "seed", 1, "of the bytes")
	_ = flags.Parse(os.Args[2:])
	switch os.Args[1] {
	case "server":
		fail(serve(s))
	case "client":
		fail(dial(s, flags.Args()))
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

func (s settings) protocols() []string {
	if s.subprotocols == "" {
		return nil
	}
	return strings.Split(s.subprotocols, ",")
}

// tlsConfig is nil when no certificate is named.
func tlsConfig(s settings) (*tls.Config, error) {
	if s.cert == "" && s.ca == "" {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if s.cert != "" {
		pair, err := tls.LoadX509KeyPair(s.cert, s.key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if s.ca != "" {
		pem, err := os.ReadFile(s.ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("no certificate in " + s.ca)
		}
		config.ClientCAs = config.RootCAs
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config, nil
}

func serve(s settings) error {
	config, err := tlsConfig(s)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		return err
	}
	fmt.Println("listening", listener.Addr())
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	upgrader := websocket.Upgrader{
		Subprotocols:      s.protocols(),
		EnableCompression: s.compress,
		WriteBufferSize:   1024,
		CheckOrigin:       func(*http.Request) bool { return true },
	}
	mux := http.NewServeMux()
	mux.HandleFunc(s.path, func(writer http.ResponseWriter, request *http.Request) {
		connection, err := upgrader.Upgrade(writer, request, nil)
		if err != nil {
			return
		}
		defer connection.Close()
		connection.SetReadLimit(maxMessageBytes)
		err = echo(connection, s)
		var closed *websocket.CloseError
		if errors.As(err, &closed) {
			fmt.Println("closed", closed.Code, closed.Text)
		} else {
			fmt.Println("failed", err)
		}
	})
	return http.Serve(listener, mux)
}

func echo(connection *websocket.Conn, s settings) error {
	connection.SetPongHandler(func(text string) error {
		return connection.WriteMessage(websocket.TextMessage, []byte(text))
	})
	for {
		kind, message, err := connection.ReadMessage()
		if err != nil {
			return err
		}
		words := strings.SplitN(string(message), " ", 3)
		switch {
		case kind == websocket.TextMessage && words[0] == "/close":
			err = sendClose(connection, words[1:])
		case kind == websocket.TextMessage && words[0] == "/subprotocol":
			err = connection.WriteMessage(kind, []byte(connection.Subprotocol()))
		case kind == websocket.TextMessage && words[0] == "/ping":
			err = connection.WriteControl(websocket.PingMessage, message[len("/ping "):], time.Now().Add(limit))
		default:
			err = send(connection, kind, message, s.fragmentBytes)
		}
		if err != nil {
			return err
		}
	}
}

// send writes a message, in fragments when they have a size.
func send(connection *websocket.Conn, kind int, message []byte, fragmentBytes int) error {
	if fragmentBytes == 0 {
		return connection.WriteMessage(kind, message)
	}
	writer, err := connection.NextWriter(kind)
	if err != nil {
		return err
	}
	for len(message) > 0 {
		size := fragmentBytes
		if size > len(message) {
			size = len(message)
		}
		if _, err := writer.Write(message[:size]); err != nil {
			return err
		}
		message = message[size:]
	}
	return writer.Close()
}

// sendClose takes a code and a reason; no code is a close frame without a body.
func sendClose(connection *websocket.Conn, words []string) error {
	var body []byte
	if len(words) > 0 {
		code, err := strconv.Atoi(words[0])
		if err != nil {
			return err
		}
		body = websocket.FormatCloseMessage(code, strings.Join(words[1:], " "))
	}
	return connection.WriteControl(websocket.CloseMessage, body, time.Now().Add(limit))
}

func dial(s settings, what []string) error {
	if len(what) == 0 {
		return errors.New("expected what to do")
	}
	config, err := tlsConfig(s)
	if err != nil {
		return err
	}
	dialer := websocket.Dialer{
		HandshakeTimeout:  limit,
		TLSClientConfig:   config,
		EnableCompression: s.compress,
		Subprotocols:      s.protocols(),
		WriteBufferSize:   2048,
	}
	connection, response, err := dialer.Dial(s.url, nil)
	if err != nil {
		if response != nil {
			return fmt.Errorf("%w, status %d", err, response.StatusCode)
		}
		return err
	}
	defer connection.Close()
	_ = connection.SetReadDeadline(time.Now().Add(limit))
	isCompressed := strings.Contains(response.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate")
	if isCompressed != s.compress {
		return fmt.Errorf("expected compression %v, given %v", s.compress, isCompressed)
	}
	switch what[0] {
	case "echo":
		return echoAll(connection, s.seed)
	case "command":
		if err := connection.WriteMessage(websocket.TextMessage, []byte(strings.Join(what[1:], " "))); err != nil {
			return err
		}
	case "close":
		if err := sendClose(connection, what[1:]); err != nil {
			return err
		}
	case "ping":
		connection.SetPongHandler(func(text string) error {
			fmt.Println("ok", text)
			os.Exit(0)
			return nil
		})
		if err := connection.WriteControl(websocket.PingMessage, []byte(what[1]), time.Now().Add(limit)); err != nil {
			return err
		}
	case "await-ping":
		answer := connection.PingHandler()
		pings := 0
		connection.SetPingHandler(func(text string) error {
			pings++
			if pings < 3 {
				return answer(text)
			}
			fmt.Println("ok", pings)
			return sendClose(connection, []string{"1000"})
		})
	default:
		return fmt.Errorf("expected something to do, given %s", what[0])
	}
	return printAnswer(connection)
}

func printAnswer(connection *websocket.Conn) error {
	_, message, err := connection.ReadMessage()
	var closed *websocket.CloseError
	if errors.As(err, &closed) {
		fmt.Println("ok closed", closed.Code, closed.Text)
		return nil
	}
	if err != nil {
		return err
	}
	fmt.Println("ok", string(message))
	return sendClose(connection, []string{"1000"})
}

type message struct {
	kind          int
	bytes         []byte
	fragmentBytes int
}

func messages(seed int64) []message {
	random := rand.New(rand.NewSource(seed))
	list := []message{
		{websocket.TextMessage, []byte(""), 0},
		{websocket.TextMessage, []byte("gr\u00fc\u00dfe \u2713 \U0001D11E"), 0},
		{websocket.TextMessage, []byte(strings.Repeat("\u20ac", 30_000)), 0},
		{websocket.TextMessage, []byte(strings.Repeat("\u20ac", 10_000)), 1000},
	}
	for _, size := range []int{0, 1, 125, 126, 65_535, 65_536, 1 << 20} {
		for _, fragmentBytes := range []int{0, 3000} {
			body := make([]byte, size)
			random.Read(body)
			list = append(list, message{websocket.BinaryMessage, body, fragmentBytes})
		}
	}
	return list
}

func echoAll(connection *websocket.Conn, seed int64) error {
	connection.SetReadLimit(maxMessageBytes)
	list := messages(seed)
	sent := make(chan error, 1)
	go func() {
		for _, each := range list {
			if err := send(connection, each.kind, each.bytes, each.fragmentBytes); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	total := 0
	for index, each := range list {
		kind, reply, err := connection.ReadMessage()
		if err != nil {
			return fmt.Errorf("message %d: %w", index, err)
		}
		if kind != each.kind || !bytes.Equal(reply, each.bytes) {
			return fmt.Errorf("message %d of kind %d and %d bytes came back as kind %d, %d bytes", index, each.kind, len(each.bytes), kind, len(reply))
		}
		total += len(reply)
	}
	if err := <-sent; err != nil {
		return err
	}
	if err := sendClose(connection, []string{"1000", "done"}); err != nil {
		return err
	}
	_, _, err := connection.ReadMessage()
	if !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		return fmt.Errorf("expected a normal close, given %v", err)
	}
	fmt.Println("ok", len(list), total)
	return nil
}
