module github.com/portico-io/portico/interop/go/knet

go 1.19

require github.com/gorilla/websocket v1.5.3
