package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// peer stress ws://host:port/ws [-clients 100] [-messages 1000] [-fanout] [flags, see below]
//
// Connects all clients, `ramp` at a time; then each sends its messages, with a pause behind each group. A message is: uint32 client,
// uint32 number, int64 time, and filling. Command 1 comes back to its sender alone, command 2 (-fanout) to everybody. It ends when all
// that must come has come, every connection is closed, or the time is over, and prints one line of JSON: see report.
type load struct {
	url                                     string
	clients, messages, size, group, pauseMs int
	ramp, spreadMs, senders, frozen, limitS int
	isFanout                                bool
}

type report struct {
	Clients      int            `json:"clients"`
	Connected    int            `json:"connected"`
	Sent         int64          `json:"sent"`
	Deliveries   int64          `json:"deliveries"`
	OwnEchoes    int64          `json:"ownEchoes"`
	OutOfOrder   int64          `json:"outOfOrder"`
	Orders       int            `json:"orders"` // Different orders in which clients got everything; with -fanout 1 is right.
	Closes       map[string]int `json:"closes"` // By status and reason.
	Failures     map[string]int `json:"failures"`
	ConnectS     float64        `json:"connectSeconds"`
	SendS        float64        `json:"seconds"` // From the first message sent to the last delivery.
	P50Ms        float64        `json:"p50Ms"`   // From sending to the own echo.
	P99Ms        float64        `json:"p99Ms"`
	MaxMs        float64        `json:"maxMs"`
	DeliveryRate float64        `json:"deliveriesPerSecond"`
}

// A worker is one client and what it saw.
type worker struct {
	conn                        *websocket.Conn
	index                       uint32
	next                        []uint32 // The number expected from each sender.
	deliveries, outOfOrder, own int64
	expected                    int64
	latencies                   []int64
	order                       uint64
	end                         string
	isClose                     bool
}

func stress(url string, arguments []string) error {
	l := load{url: url}
	flags := flag.NewFlagSet("stress", flag.ExitOnError)
	flags.IntVar(&l.clients, "clients", 100, "")
	flags.IntVar(&l.messages, "messages", 1000, "of each client")
	flags.IntVar(&l.size, "bytes", 64, "of a payload, 16 or more")
	flags.IntVar(&l.group, "group", 10, "messages between pauses")
	flags.IntVar(&l.pauseMs, "pause-ms", 1, "")
	flags.IntVar(&l.ramp, "ramp", 50, "dials at a time")
	flags.IntVar(&l.spreadMs, "spread-ms", 0, "over which the clients begin, one after the other; 0: all at once")
	flags.IntVar(&l.senders, "senders", 0, "how many of them send; 0: all")
	flags.IntVar(&l.frozen, "frozen", 0, "clients besides that never read")
	flags.IntVar(&l.limitS, "limit-s", 300, "")
	flags.BoolVar(&l.isFanout, "fanout", false, "")
	_ = flags.Parse(arguments)
	if l.senders == 0 {
		l.senders = l.clients
	}
	result := l.run()
	text, err := json.Marshal(result)
	if err == nil {
		fmt.Println(string(text))
	}
	return err
}

func (l load) run() report {
	started := time.Now()
	workers, failures := l.connect()
	frozen, err := l.freeze()
	for _, conn := range frozen {
		defer conn.Close()
	}
	if err != nil {
		failures[err.Error()]++
	}
	result := report{Clients: l.clients, Connected: len(workers), Closes: map[string]int{}, Failures: failures}
	result.ConnectS = time.Since(started).Seconds()
	deadline := time.Now().Add(time.Duration(l.limitS) * time.Second)
	var readers, writers sync.WaitGroup
	var sent int64
	begun := time.Now()
	for _, w := range workers {
		w.expected = int64(l.messages)
		if l.isFanout {
			w.expected *= int64(min(l.senders, len(workers)))
		}
		_ = w.conn.SetReadDeadline(deadline)
		readers.Add(1)
		go func(w *worker) {
			defer readers.Done()
			w.read(l, begun)
		}(w)
	}
	for _, w := range workers[:min(l.senders, len(workers))] {
		writers.Add(1)
		go func(w *worker) {
			defer writers.Done()
			atomic.AddInt64(&sent, l.write(w, begun))
		}(w)
	}
	readers.Wait()
	result.SendS = time.Since(begun).Seconds()
	for _, w := range workers {
		_ = w.conn.UnderlyingConn().Close()
	}
	writers.Wait()
	result.Sent = sent
	result.add(workers)
	return result
}

func (l load) connect() ([]*worker, map[string]int) {
	var group sync.WaitGroup
	var lock sync.Mutex
	var workers []*worker
	failures := map[string]int{}
	turns := make(chan bool, l.ramp)
	buffers := &sync.Pool{}
	for index := 0; index < l.clients; index++ {
		group.Add(1)
		turns <- true
		go func(index int) {
			defer group.Done()
			defer func() { <-turns }()
			dialer := dialerFrom(index)
			dialer.WriteBufferPool = buffers
			conn, response, err := dialer.Dial(l.url, nil)
			lock.Lock()
			defer lock.Unlock()
			if err != nil {
				if response != nil {
					err = fmt.Errorf("%w, status %d", err, response.StatusCode)
				}
				failures[err.Error()]++
				return
			}
			workers = append(workers, &worker{conn: conn, index: uint32(len(workers))})
		}(index)
	}
	group.Wait()
	for _, w := range workers {
		w.next = make([]uint32, 1)
		if l.isFanout {
			w.next = make([]uint32, len(workers))
		}
	}
	return workers, failures
}

// dialerFrom uses several addresses, because one has not ports enough for run after run.
func dialerFrom(index int) websocket.Dialer {
	from := &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+index%16))}
	dial := (&net.Dialer{LocalAddr: from, Timeout: limit}).Dial
	return websocket.Dialer{HandshakeTimeout: limit, NetDial: dial, ReadBufferSize: 4096, WriteBufferSize: 256}
}

// freeze connects clients that never read.
func (l load) freeze() (frozen []*websocket.Conn, err error) {
	for index := 0; index < l.frozen && err == nil; index++ {
		dialer := dialerFrom(index)
		var conn *websocket.Conn
		if conn, _, err = dialer.Dial(l.url, nil); err == nil {
			frozen = append(frozen, conn)
			if tcp, isTCP := conn.UnderlyingConn().(*net.TCPConn); isTCP {
				err = tcp.SetReadBuffer(4096)
			}
		}
	}
	return frozen, err
}

func (l load) write(w *worker, begun time.Time) int64 {
	id := uint32(1)
	if l.isFanout {
		id = 2
	}
	message := encode(id, make([]byte, l.size))
	binary.BigEndian.PutUint32(message[4:], w.index)
	time.Sleep(time.Duration(l.spreadMs) * time.Millisecond * time.Duration(w.index) / time.Duration(l.clients))
	for number := 0; number < l.messages; number++ {
		binary.BigEndian.PutUint32(message[8:], uint32(number))
		binary.BigEndian.PutUint64(message[12:], uint64(time.Since(begun)))
		if err := w.conn.WriteMessage(websocket.BinaryMessage, message); err != nil {
			return int64(number)
		}
		if (number+1)%l.group == 0 {
			time.Sleep(time.Duration(l.pauseMs) * time.Millisecond)
		}
	}
	return int64(l.messages)
}

func (w *worker) read(l load, begun time.Time) {
	buffer := make([]byte, 4+l.size)
	order := fnv.New64a()
	for w.deliveries < w.expected {
		_, reader, err := w.conn.NextReader()
		if err == nil {
			_, err = io.ReadFull(reader, buffer)
		}
		if err != nil {
			w.ended(err)
			break
		}
		w.deliveries++
		sender, number := binary.BigEndian.Uint32(buffer[4:]), binary.BigEndian.Uint32(buffer[8:])
		_, _ = order.Write(buffer[4:12])
		at := uint32(0)
		if l.isFanout {
			at = sender
		}
		if (!l.isFanout && sender != w.index) || at >= uint32(len(w.next)) || w.next[at] != number {
			w.outOfOrder++
		} else {
			w.next[at]++
		}
		if sender == w.index {
			w.own++
		}
		if sender == w.index || l.senders < l.clients {
			w.latencies = append(w.latencies, int64(time.Since(begun))-int64(binary.BigEndian.Uint64(buffer[12:])))
		}
	}
	w.order = order.Sum64()
}

func (w *worker) ended(err error) {
	var closed *websocket.CloseError
	if w.isClose = errors.As(err, &closed); w.isClose {
		w.end = fmt.Sprintf("%d %s", closed.Code, closed.Text)
		return
	}
	var failed net.Error
	if w.end = "failed"; errors.As(err, &failed) && failed.Timeout() {
		w.end = "time is over"
	}
	fmt.Fprintln(os.Stderr, err)
}

func (r *report) add(workers []*worker) {
	var latencies []int64
	orders := map[uint64]bool{}
	for _, w := range workers {
		r.Deliveries += w.deliveries
		r.OutOfOrder += w.outOfOrder
		r.OwnEchoes += w.own
		latencies = append(latencies, w.latencies...)
		orders[w.order] = true
		if w.isClose {
			r.Closes[w.end]++
		} else if w.end != "" {
			r.Failures[w.end]++
		}
	}
	r.Orders = len(orders)
	r.DeliveryRate = float64(r.Deliveries) / r.SendS
	if len(latencies) == 0 {
		return
	}
	sort.Slice(latencies, func(a, b int) bool { return latencies[a] < latencies[b] })
	at := func(part float64) float64 { return float64(latencies[int(part*float64(len(latencies)-1))]) / 1e6 }
	r.P50Ms, r.P99Ms, r.MaxMs = at(0.5), at(0.99), at(1)
}
