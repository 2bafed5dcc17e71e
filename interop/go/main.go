// A peer for portico's interop tests, on the standard library alone: frames of a 4-byte big-endian length over TCP, TLS or a
// Unix socket.
//
//	peer server -network tcp -address 127.0.0.1:0 [-cert file -key file [-ca file]]
//	peer client -network tcp -address host:port   [-ca file [-cert file -key file]] -connections 8 -frames 200 -seed 1
//
// The server echoes and prints "listening <address>". The client sends frames of many sizes, checks that the same ones come
// back in order, half closes, expects the end of the stream, and prints "ok <frames> <bytes>".
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
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
)

const maxFrameBytes = 1 << 20

type settings struct {
	network, address, cert, key, ca string
	connections, frames             int
	seed                            int64
}

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("expected server or client"))
	}
	var s settings
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	flags.StringVar(&s.network, "network", "tcp", "tcp or unix")
	flags.StringVar(&s.address, "address", "127.0.0.1:0", "where to listen or to dial")
	flags.StringVar(&s.cert, "cert", "", "own certificate")
	flags.StringVar(&s.key, "key", "", "its key")
	flags.StringVar(&s.ca, "ca", "", "who is trusted; a server then asks its clients for certificates")
	flags.IntVar(&s.connections, "connections", 8, "connections of the client")
	flags.IntVar(&s.frames, "frames", 200, "frames on each of them")
	flags.Int64Var(&s.seed, "seed", 1, "of the sizes and the bytes")
	_ = flags.Parse(os.Args[2:])
	switch os.Args[1] {
	case "server":
		fail(serve(s))
	case "client":
		fail(dialAll(s))
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

// tlsConfig is nil when no certificate is named.
func tlsConfig(s settings, isServer bool) (*tls.Config, error) {
	if s.cert == "" && s.ca == "" {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
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
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, errors.New("no certificate in " + s.ca)
		}
		config.RootCAs = pool
		if isServer {
			config.ClientCAs = pool
			config.ClientAuth = tls.RequireAndVerifyClientCert
		}
	}
	return config, nil
}

func readFrame(reader io.Reader) ([]byte, error) {
	var header [4]byte
	if _, err := io.ReadFull(reader, header[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(header[:])
	if size > maxFrameBytes {
		return nil, fmt.Errorf("a frame of %d bytes", size)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(reader, body); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	return body, nil
}

func writeFrame(writer io.Writer, body []byte) error {
	var header [4]byte
	binary.BigEndian.PutUint32(header[:], uint32(len(body)))
	if _, err := writer.Write(header[:]); err != nil {
		return err
	}
	_, err := writer.Write(body)
	return err
}

func serve(s settings) error {
	listener, err := net.Listen(s.network, s.address)
	if err != nil {
		return err
	}
	config, err := tlsConfig(s, true)
	if err != nil {
		return err
	}
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	fmt.Println("listening", listener.Addr())
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer connection.Close()
			reader, writer := bufio.NewReader(connection), bufio.NewWriter(connection)
			for {
				body, err := readFrame(reader)
				if err != nil {
					return
				}
				if writeFrame(writer, body) != nil {
					return
				}
				if reader.Buffered() == 0 && writer.Flush() != nil {
					return
				}
			}
		}()
	}
}

func dialAll(s settings) error {
	config, err := tlsConfig(s, false)
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	results := make([]error, s.connections)
	sizes := make([]int, s.connections)
	for index := range results {
		group.Add(1)
		go func(index int) {
			defer group.Done()
			sizes[index], results[index] = dialOne(s, config, s.seed*1000+int64(index))
		}(index)
	}
	group.Wait()
	total := 0
	for index, err := range results {
		if err != nil {
			return fmt.Errorf("connection %d of seed %d: %w", index, s.seed, err)
		}
		total += sizes[index]
	}
	fmt.Println("ok", s.connections*s.frames, total)
	return nil
}

type halfCloser interface{ CloseWrite() error }

func dialOne(s settings, config *tls.Config, seed int64) (int, error) {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	var connection net.Conn
	var err error
	if config == nil {
		connection, err = dialer.Dial(s.network, s.address)
	} else {
		connection, err = tls.DialWithDialer(dialer, s.network, s.address, config)
	}
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(30 * time.Second))

	random := rand.New(rand.NewSource(seed))
	bodies := make([][]byte, s.frames)
	total := 0
	for index := range bodies {
		limits := []int{2, 100, 3000, 70_000}
		bodies[index] = make([]byte, random.Intn(limits[random.Intn(len(limits))]))
		random.Read(bodies[index])
		total += len(bodies[index])
	}
	sent := make(chan error, 1)
	go func() {
		writer := bufio.NewWriter(connection)
		for _, body := range bodies {
			if err := writeFrame(writer, body); err != nil {
				sent <- err
				return
			}
		}
		if err := writer.Flush(); err != nil {
			sent <- err
			return
		}
		sent <- connection.(halfCloser).CloseWrite()
	}()
	reader := bufio.NewReader(connection)
	for index, body := range bodies {
		reply, err := readFrame(reader)
		if err != nil {
			return 0, fmt.Errorf("frame %d: %w", index, err)
		}
		if !bytes.Equal(reply, body) {
			return 0, fmt.Errorf("frame %d of %d bytes came back as %d others", index, len(body), len(reply))
		}
	}
	if err := <-sent; err != nil {
		return 0, err
	}
	if _, err := reader.ReadByte(); err != io.EOF {
		return 0, fmt.Errorf("expected the end of the stream, given %v", err)
	}
	return total, nil
}
