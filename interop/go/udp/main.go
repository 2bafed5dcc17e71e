// A UDP peer for portico's interop tests, on the standard library alone.
//
//	peer server -address 127.0.0.1:0
//	peer client -address host:port -sockets 8 -datagrams 200 -seed 1
//
// The server echoes and prints "listening <address>". The client sends datagrams of many sizes from several sockets, one after the
// other, checks that the same ones come back, and prints "ok <datagrams> <bytes>".
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand"
	"net"
	"os"
	"sync"
	"time"
)

// maxDatagramBytes is the largest one that IPv4 takes.
const maxDatagramBytes = 65_507

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("expected server or client"))
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	address := flags.String("address", "127.0.0.1:0", "where to listen or to send")
	sockets := flags.Int("sockets", 8, "sockets of the client")
	datagrams := flags.Int("datagrams", 200, "datagrams on each of them")
	seed := flags.Int64("seed", 1, "of the sizes and the bytes")
	_ = flags.Parse(os.Args[2:])
	switch os.Args[1] {
	case "server":
		fail(serve(*address))
	case "client":
		fail(sendAll(*address, *sockets, *datagrams, *seed))
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

func serve(address string) error {
	socket, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	fmt.Println("listening", socket.LocalAddr())
	buffer := make([]byte, maxDatagramBytes+1)
	for {
		size, peer, err := socket.ReadFrom(buffer)
		if err != nil {
			return err
		}
		if _, err := socket.WriteTo(buffer[:size], peer); err != nil {
			return err
		}
	}
}

func sendAll(address string, sockets, datagrams int, seed int64) error {
	var group sync.WaitGroup
	results := make([]error, sockets)
	totals := make([]int, sockets)
	for index := range results {
		group.Add(1)
		go func(index int) {
			defer group.Done()
			totals[index], results[index] = sendFrom(address, datagrams, seed*1000+int64(index))
		}(index)
	}
	group.Wait()
	total := 0
	for index, err := range results {
		if err != nil {
			return fmt.Errorf("socket %d of seed %d: %w", index, seed, err)
		}
		total += totals[index]
	}
	fmt.Println("ok", sockets*datagrams, total)
	return nil
}

func sendFrom(address string, datagrams int, seed int64) (int, error) {
	socket, err := net.Dial("udp", address)
	if err != nil {
		return 0, err
	}
	defer socket.Close()
	random := rand.New(rand.NewSource(seed))
	limits := []int{2, 100, 1400, 9000, maxDatagramBytes}
	buffer := make([]byte, maxDatagramBytes+1)
	total := 0
	for index := 0; index < datagrams; index++ {
		datagram := make([]byte, random.Intn(limits[random.Intn(len(limits))]+1))
		random.Read(datagram)
		reply, err := exchange(socket, datagram, buffer)
		if err != nil {
			return 0, fmt.Errorf("datagram %d of %d bytes: %w", index, len(datagram), err)
		}
		if !bytes.Equal(reply, datagram) {
			return 0, fmt.Errorf("datagram %d of %d bytes came back as %d others", index, len(datagram), len(reply))
		}
		total += len(datagram)
	}
	return total, nil
}

// exchange sends again when no answer comes: datagrams may be lost, also on one machine.
func exchange(socket net.Conn, datagram, buffer []byte) ([]byte, error) {
	var last error
	for attempt := 0; attempt < 5; attempt++ {
		if _, err := socket.Write(datagram); err != nil {
			return nil, err
		}
		_ = socket.SetReadDeadline(time.Now().Add(2 * time.Second))
		size, err := socket.Read(buffer)
		if err == nil {
			return buffer[:size], nil
		}
		last = err
	}
	return nil, last
}
