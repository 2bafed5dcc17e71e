module github.com/portico-io/portico/interop/go

go 1.19
