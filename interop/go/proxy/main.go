// A peer for the interoperability tests of the PROXY protocol, on github.com/pires/go-proxyproto.
//
//	peer read              reads headers from standard input, each as hexadecimal text on a line, and writes each as JSON
//	peer write             writes headers as hexadecimal text: versions 1 and 2, IPv4, IPv6, Unix, LOCAL, with TLVs
package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"

	"github.com/pires/go-proxyproto"
)

type tlv struct {
	Type  int    `json:"type"`
	Value string `json:"value"`
}

type header struct {
	Version     int    `json:"version"`
	IsLocal     bool   `json:"isLocal"`
	Source      string `json:"source"`
	Destination string `json:"destination"`
	Tlvs        []tlv  `json:"tlvs"`
	Rest        string `json:"rest"`
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "read" {
		read()
	} else if len(os.Args) == 2 && os.Args[1] == "write" {
		write()
	} else {
		fmt.Fprintln(os.Stderr, "usage: peer read | peer write")
		os.Exit(2)
	}
}

func read() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		raw, err := hex.DecodeString(lines.Text())
		if err != nil {
			fail(err)
		}
		reader := bufio.NewReaderSize(bytes.NewReader(raw), 1<<17)
		got, err := proxyproto.Read(reader)
		if err != nil {
			fmt.Printf("{\"error\":%q}\n", err.Error())
			continue
		}
		result := header{Version: int(got.Version), IsLocal: got.Command.IsLocal(), Tlvs: []tlv{}}
		if got.SourceAddr != nil && got.DestinationAddr != nil {
			result.Source, result.Destination = got.SourceAddr.String(), got.DestinationAddr.String()
		}
		tlvs, err := got.TLVs()
		if err != nil {
			fail(err)
		}
		for _, each := range tlvs {
			result.Tlvs = append(result.Tlvs, tlv{int(each.Type), hex.EncodeToString(each.Value)})
		}
		rest := make([]byte, reader.Buffered())
		if _, err := reader.Read(rest); err == nil {
			result.Rest = hex.EncodeToString(rest)
		}
		text, err := json.Marshal(result)
		if err != nil {
			fail(err)
		}
		fmt.Println(string(text))
	}
}

func write() {
	ipv4 := [2]net.Addr{&net.TCPAddr{IP: net.ParseIP("192.0.2.1"), Port: 56324}, &net.TCPAddr{IP: net.ParseIP("198.51.100.2"), Port: 443}}
	ipv6 := [2]net.Addr{&net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 56324}, &net.TCPAddr{IP: net.ParseIP("2001:db8::2"), Port: 443}}
	unix := [2]net.Addr{&net.UnixAddr{Net: "unix", Name: "/run/client"}, &net.UnixAddr{Net: "unix", Name: "/run/server"}}
	for _, ends := range [][2]net.Addr{ipv4, ipv6} {
		put(proxyproto.HeaderProxyFromAddrs(1, ends[0], ends[1]))
	}
	for _, ends := range [][2]net.Addr{ipv4, ipv6} {
		put(proxyproto.HeaderProxyFromAddrs(2, ends[0], ends[1]))
		withTlvs := proxyproto.HeaderProxyFromAddrs(2, ends[0], ends[1])
		err := withTlvs.SetTLVs([]proxyproto.TLV{
			{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte("example.org")},
			{Type: proxyproto.PP2_TYPE_UNIQUE_ID, Value: []byte("id 7")},
			{Type: proxyproto.PP2_TYPE_MIN_CUSTOM, Value: bytes.Repeat([]byte{7}, 300)},
		})
		if err != nil {
			fail(err)
		}
		put(withTlvs)
	}
	// This version of the module leaves TLVs out of the length of a header with Unix addresses.
	put(proxyproto.HeaderProxyFromAddrs(2, unix[0], unix[1]))
	put(&proxyproto.Header{Version: 2, Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC})
}

func put(header *proxyproto.Header) {
	raw, err := header.Format()
	if err != nil {
		fail(err)
	}
	fmt.Println(hex.EncodeToString(raw))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
