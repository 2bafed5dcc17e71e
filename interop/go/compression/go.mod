module github.com/portico-io/portico/interop/go/compression

go 1.19

require github.com/golang/snappy v1.0.0
