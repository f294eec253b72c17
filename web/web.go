// Package web serves what slowburn knows over HTTP: Prometheus's own API, metrics and a status page.
// It evaluates no rules and delivers no alerts; what it shows belongs to others.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"time"

	"github.com/grafana/regexp"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/route"
	toolkit "github.com/prometheus/exporter-toolkit/web"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/features"
	"github.com/prometheus/prometheus/util/notifications"
	api "github.com/prometheus/prometheus/web/api/v1"
)

// Limits of the API.
const (
	readConcurrency  = 4
	readFrameBytes   = 1 << 20
	searchLimit      = 10_000
	maxHeaderBytes   = 64 << 10
	headerTimeout    = 10 * time.Second
	bodyTimeout      = 5 * time.Minute
	idleTimeout      = 2 * time.Minute
	writeTimeout     = time.Minute
	shutdownPatience = 3 * time.Second
)

// Database is what the API reads from, and what its status endpoints report on.
type Database interface {
	storage.Storage
	storage.ExemplarQueryable
	api.TSDBAdminStats
	Dir() string
	Health() error
}

// Targets is what the API tells of scraping.
type Targets interface {
	api.TargetRetriever
	api.ScrapePoolsRetriever
}

// Options holds what a Server shows. DB to Now, but for Verdicts, and Registry must be set.
type Options struct {
	DB            Database
	Engine        promql.QueryEngine // of its own: dashboards must not starve the rules
	Parser        parser.Parser      // judges queries before they run
	Targets       Targets
	Rules         api.RulesRetriever
	Alertmanagers api.AlertmanagerRetriever
	Verdicts      Verdicts             // of alerts; nil where nobody judges them
	Config        func() config.Config // the scrape configuration in force
	Flags         map[string]string    // as the status API shows them
	Version       string
	Retention     time.Duration
	Started       time.Time
	Now           func() time.Time // the clock
	Registry      *prometheus.Registry
	Limits        Limits       // of what a request may cost
	Receiver      Receiver     // where samples go that others write here; nil: the receiver is off
	Reload        func() error // nil answers reloads with 403
	// Loaded tells whether the last reload succeeded, and when one last did; nil: always, and at Started.
	Loaded     func() (ok bool, at time.Time)
	Pprof      bool   // answer profiles under /debug/pprof/
	ConfigFile string // exporter-toolkit web configuration: TLS and basic authentication
	Logger     *slog.Logger
}

// Server answers HTTP on one listener.
type Server struct {
	opts     Options
	listener net.Listener
	handler  http.Handler
	ready    func() error
}

// New makes a Server on ln, which it owns from then on. Nothing is served until Run. ready tells why the
// program is not ready yet, or nil.
func New(ln net.Listener, ready func() error, o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Limits = o.Limits.WithDefaults()
	if err := toolkit.Validate(o.ConfigFile); err != nil {
		return nil, fmt.Errorf("web configuration %s: %w", o.ConfigFile, err)
	}
	s := &Server{opts: o, listener: ln, ready: ready}
	s.handler = s.routes()
	return s, nil
}

// Addr is where the Server listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Run serves until ctx is cancelled, then lets requests under way end, for a few seconds.
func (s *Server) Run(ctx context.Context) error {
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		IdleTimeout:       idleTimeout,
		WriteTimeout:      max(writeTimeout, 3*s.opts.Limits.Timeout), // who reads slowly holds a place of the queue
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.opts.Logger.Handler(), slog.LevelWarn),
	}
	done := make(chan error, 1)
	go func() { // ends when the server is shut down or fails
		done <- toolkit.Serve(s.listener, server, &toolkit.FlagConfig{WebConfigFile: &s.opts.ConfigFile}, s.opts.Logger)
	}()
	select {
	case err := <-done:
		return fmt.Errorf("serve on %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(context.Background(), shutdownPatience)
	defer cancel()
	if err := server.Shutdown(patience); err != nil {
		server.Close() //nolint:errcheck // what is still open is cut off
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", s.Addr(), err)
	}
	return nil
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	v1 := route.New()
	s.api().Register(v1)
	prometheus := http.StripPrefix("/api/v1", v1)
	mux.Handle("/api/v1/", prometheus)
	mux.Handle("GET /api/v1/alerts", s.annotated(prometheus))
	mux.Handle("GET /api/v1/rules", s.annotated(prometheus))
	mux.HandleFunc("GET /api/v1/slowburn/verdicts", s.answerVerdicts)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.opts.Registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, ErrorLog: slog.NewLogLogger(s.opts.Logger.Handler(), slog.LevelWarn),
	}))
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "slowburn is healthy.") })
	mux.HandleFunc("GET /-/ready", s.answerReady)
	mux.HandleFunc("POST /-/reload", s.answerReload)
	mux.HandleFunc("GET /{$}", s.status)
	mux.HandleFunc("GET /style.css", styles)
	mux.Handle("POST /api/v1/write", bounded(prometheus))
	mux.Handle("POST /api/v1/read", bounded(prometheus))
	if s.opts.Pprof {
		profiles(mux)
	}
	return secured(mux)
}

// secured adds the headers that keep a page from running or framing anything.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}

// unready says why the program can't do its work, or nil.
func (s *Server) unready() error { return errors.Join(s.ready(), s.opts.DB.Health()) }

func (s *Server) answerReady(w http.ResponseWriter, _ *http.Request) {
	if err := s.unready(); err != nil {
		http.Error(w, "slowburn is not ready: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "slowburn is ready.")
}

func (s *Server) answerReload(w http.ResponseWriter, _ *http.Request) {
	if s.opts.Reload == nil {
		http.Error(w, "reload is switched off", http.StatusForbidden)
		return
	}
	if err := s.opts.Reload(); err != nil {
		http.Error(w, "reload: "+err.Error()+"\nThe old configuration is still in force.", http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, "reloaded")
}

// api is upstream's own, so that every client of Prometheus works unchanged.
func (s *Server) api() *api.API {
	o := s.opts
	var v1 storage.Appendable // typed nils would not be nil to upstream
	var v2 storage.AppendableV2
	if o.Receiver != nil {
		v1, v2 = o.Receiver, o.Receiver
	}
	return api.NewAPI(
		newQueue(o.Engine, o.Limits), o.DB, v1, v2, o.DB,
		func(context.Context) api.ScrapePoolsRetriever { return o.Targets },
		func(context.Context) api.TargetRetriever { return o.Targets },
		func(context.Context) api.AlertmanagerRetriever { return o.Alertmanagers },
		o.Config, o.Flags,
		api.GlobalURLOptions{ListenAddress: s.Addr(), Host: s.Addr(), Scheme: "http"},
		func(next http.HandlerFunc) http.HandlerFunc { return next },
		o.DB, o.DB.Dir(), false, false, searchLimit, o.Logger,
		func(context.Context) api.RulesRetriever { return o.Rules },
		o.Limits.Samples, readConcurrency, readFrameBytes, false, regexp.MustCompile("^$"),
		s.runtimeInfo, &api.PrometheusVersion{Version: o.Version, GoVersion: runtime.Version()},
		func() []notifications.Notification { return nil },
		func() (<-chan notifications.Notification, func(), bool) { return nil, nil, false },
		o.Registry, prometheus.WrapRegistererWithPrefix("slowburn_", o.Registry), nil,
		o.Receiver != nil, remoteapi.MessageTypes{remoteapi.WriteV1MessageType, remoteapi.WriteV2MessageType}, false, false, false, false,
		0, false, false, nil, features.NewRegistry(),
		api.OpenAPIOptions{ExternalURL: (&url.URL{Scheme: "http", Host: s.Addr()}).String(), Version: o.Version, MaxSearchLimit: searchLimit},
		o.Parser,
	)
}

func (s *Server) runtimeInfo() (api.RuntimeInfo, error) {
	host, err := os.Hostname()
	if err != nil {
		return api.RuntimeInfo{}, fmt.Errorf("read host name: %w", err)
	}
	ok, at := true, s.opts.Started
	if s.opts.Loaded != nil {
		ok, at = s.opts.Loaded()
	}
	return api.RuntimeInfo{
		StartTime: s.opts.Started, Hostname: host, ServerTime: s.opts.Now(),
		ReloadConfigSuccess: ok, LastConfigTime: at,
		GoroutineCount: runtime.NumGoroutine(), GOMAXPROCS: runtime.GOMAXPROCS(0),
		StorageRetention: s.opts.Retention.String(),
	}, nil
}
