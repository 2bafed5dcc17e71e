// A peer for portico's interop tests of compressed streams: frames of a 4-byte big-endian length over TCP, compressed the way Go
// programs do it, with compress/flate or github.com/golang/snappy over the whole connection and a flush after each frame.
//
//	peer server -address 127.0.0.1:0 -compress zip
//	peer client -address host:port   -compress snappy -connections 4 -frames 100 -seed 1 [-unfinished]
//
// -compress is store, zip, speed, best, huffman or snappy. The server echoes and prints "listening <address>". The client sends
// frames of many sizes, checks that the same ones come back in order, finishes, expects the end of the stream, and prints
// "ok <frames> <bytes>". With -unfinished it finishes the connection only, without the last block of a flate stream.
package main

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"time"

	"github.com/golang/snappy"
)

const maxFrameBytes = 1 << 20

type settings struct {
	address, compress   string
	connections, frames int
	seed                int64
	unfinished          bool
}

type compressor interface {
	io.WriteCloser
	Flush() error
}

var levels = map[string]int{
	"store":   flate.NoCompression,
	"zip":     flate.DefaultCompression,
	"speed":   flate.BestSpeed,
	"best":    flate.BestCompression,
	"huffman": flate.HuffmanOnly,
}

func wrap(connection net.Conn, compress string) (*bufio.Reader, compressor, error) {
	if compress == "snappy" {
		return bufio.NewReader(snappy.NewReader(connection)), snappy.NewBufferedWriter(connection), nil
	}
	level, ok := levels[compress]
	if !ok {
		return nil, nil, fmt.Errorf("unknown compression %q", compress)
	}
	writer, err := flate.NewWriter(connection, level)
	return bufio.NewReader(flate.NewReader(connection)), writer, err
}

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("expected server or client"))
	}
	var s settings
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	flags.StringVar(&s.address, "address", "127.0.0.1:0", "where to listen or to dial")
	flags.StringVar(&s.compress, "compress", "zip", "store, zip, speed, best, huffman or snappy")
	flags.IntVar(&s.connections, "connections", 4, "connections of the client")
	flags.IntVar(&s.frames, "frames", 100, "frames on each of them")
	flags.Int64Var(&s.seed, "seed", 1, "of the sizes and the bytes")
	flags.BoolVar(&s.unfinished, "unfinished", false, "leave the compressed stream without its end")
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

func writeFrame(writer compressor, body []byte) error {
	frame := make([]byte, 4+len(body))
	binary.BigEndian.PutUint32(frame, uint32(len(body)))
	copy(frame[4:], body)
	if _, err := writer.Write(frame); err != nil {
		return err
	}
	return writer.Flush()
}

func serve(s settings) error {
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		return err
	}
	fmt.Println("listening", listener.Addr())
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer connection.Close()
			reader, writer, err := wrap(connection, s.compress)
			if err != nil {
				return
			}
			for {
				body, err := readFrame(reader)
				if err != nil {
					if err != io.EOF {
						fmt.Fprintln(os.Stderr, "read:", err)
					}
					break
				}
				if writeFrame(writer, body) != nil {
					return
				}
			}
			_ = writer.Close()
		}()
	}
}

func dialAll(s settings) error {
	results := make(chan error, s.connections)
	sizes := make(chan int, s.connections)
	for index := 0; index < s.connections; index++ {
		go func(seed int64) {
			size, err := dialOne(s, seed)
			if err != nil {
				err = fmt.Errorf("seed %d: %w", seed, err)
			}
			sizes <- size
			results <- err
		}(s.seed*1000 + int64(index))
	}
	total := 0
	for index := 0; index < s.connections; index++ {
		total += <-sizes
		if err := <-results; err != nil {
			return err
		}
	}
	fmt.Println("ok", s.connections*s.frames, total)
	return nil
}

// makeBodies returns noise, text that repeats, and runs of one byte.
func makeBodies(s settings, random *rand.Rand) ([][]byte, int) {
	bodies := make([][]byte, s.frames)
	total := 0
	for index := range bodies {
		limits := []int{2, 100, 3000, 70_000, 300_000}
		body := make([]byte, random.Intn(limits[random.Intn(len(limits))]))
		switch index % 3 {
		case 0:
			random.Read(body)
		case 1:
			for at := range body {
				body[at] = "the quick brown fox jumps over the lazy dog "[(at*at/7+at)%44]
			}
		}
		bodies[index] = body
		total += len(body)
	}
	return bodies, total
}

func dialOne(s settings, seed int64) (int, error) {
	connection, err := net.DialTimeout("tcp", s.address, 10*time.Second)
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(30 * time.Second))
	reader, writer, err := wrap(connection, s.compress)
	if err != nil {
		return 0, err
	}
	bodies, total := makeBodies(s, rand.New(rand.NewSource(seed)))
	sent := make(chan error, 1)
	go func() {
		for _, body := range bodies {
			if err := writeFrame(writer, body); err != nil {
				sent <- err
				return
			}
		}
		if !s.unfinished {
			if err := writer.Close(); err != nil {
				sent <- err
				return
			}
		}
		sent <- connection.(*net.TCPConn).CloseWrite()
	}()
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
