module github.com/portico-io/portico/interop/go/command

go 1.19

require github.com/gorilla/websocket v1.5.3
