module github.com/portico-io/portico/interop/go/router

go 1.19

require github.com/gorilla/websocket v1.5.3

require google.golang.org/protobuf v1.34.2
