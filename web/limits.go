package web

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/pprof"
	"runtime"
	"time"

	"github.com/prometheus/prometheus/storage"
)

// Defaults of Limits: what the queries under way hold at once stays within three hundred megabytes. As many of them run
// as there are processors, but no more than four: with the rules' one among them, the scheduler gives that its share.
const (
	DefaultSamples     = 5_000_000
	DefaultTimeout     = 4 * time.Second
	defaultConcurrency = 4
)

// Limits bound what requests may cost. Zero means the default.
type Limits struct {
	Samples     int           // that one query may hold
	Timeout     time.Duration // of one query, with the time that it waits for others
	Concurrency int           // queries that run, or have their answers written, at once; the others wait
}

// WithDefaults fills in what is zero.
func (l Limits) WithDefaults() Limits {
	if l.Samples == 0 {
		l.Samples = DefaultSamples
	}
	if l.Timeout == 0 {
		l.Timeout = DefaultTimeout
	}
	if l.Concurrency == 0 {
		l.Concurrency = min(defaultConcurrency, max(2, runtime.GOMAXPROCS(0)))
	}
	return l
}

// Receiver is what a Server needs of a database that others may write to.
type Receiver interface {
	storage.Appendable
	storage.AppendableV2
}

// Bounds of a body in Prometheus's remote protocols. No label of a request within them can exceed the sixteen
// megabytes that end the process in upstream's label encoding.
const (
	maxRemoteBody    = 8 << 20
	maxRemoteDecoded = 15 << 20
)

// bounded refuses remote reads and writes by their size, and by the size that they say they have when decoded: a body
// of ten bytes may claim four gigabytes.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := bufio.NewReader(http.MaxBytesReader(w, r.Body, maxRemoteBody))
		head, err := body.Peek(binary.MaxVarintLen64)
		if err != nil && !errors.Is(err, io.EOF) {
			http.Error(w, fmt.Sprintf("read body: %v", err), http.StatusBadRequest)
			return
		}
		if size, n := binary.Uvarint(head); n < 0 || n > 0 && size > maxRemoteDecoded {
			http.Error(w, fmt.Sprintf("the body says that it holds more than %d bytes: send smaller batches", maxRemoteDecoded), http.StatusRequestEntityTooLarge)
			return
		}
		own := r.Clone(r.Context())
		own.Body = struct {
			io.Reader
			io.Closer
		}{body, r.Body}
		next.ServeHTTP(w, own)
	})
}

// profiles answers Go's own profiles.
func profiles(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}
