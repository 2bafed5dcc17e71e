module github.com/portico-io/portico/interop/go/proxy

go 1.24

require github.com/pires/go-proxyproto v0.8.1
