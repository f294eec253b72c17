package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// playedTenants are the shop's tenants with their requests per second.
var playedTenants = []struct {
	name string
	rate float64
}{{"acme", 60}, {"globex", 40}, {"initech", 25}}

// playTick is how often the shop plays a bit of its traffic.
const playTick = 100 * time.Millisecond

// playedService is one service of the shop: a metrics endpoint on loopback, whose counters move as if it
// had traffic.
type playedService struct {
	name     string
	listener net.Listener
	requests *prometheus.CounterVec
	registry *prometheus.Registry
}

// playedShop plays the four services without Node. The same seed gives the same traffic.
type playedShop struct {
	services []*playedService
	random   *rand.Rand
	incident atomic.Bool // while set, acme's requests to search fail
}

func newPlayedShop(seed uint64, names ...string) (*playedShop, error) {
	shop := &playedShop{random: rand.New(rand.NewPCG(seed, seed))}
	for _, name := range names {
		service, err := newPlayedService(name)
		if err != nil {
			shop.close()
			return nil, err
		}
		shop.services = append(shop.services, service)
	}
	return shop, nil
}

func newPlayedService(name string) (*playedService, error) {
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("play service %s: %w", name, err)
	}
	s := &playedService{name: name, listener: ln, registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "http_requests_total", Help: "Requests answered.",
		}, []string{"tenant", "code"})}
	s.registry.MustRegister(s.requests)
	for _, t := range playedTenants {
		for _, code := range []string{"200", "500"} {
			s.requests.WithLabelValues(t.name, code) // at zero, so that the first failure counts
		}
	}
	return s, nil
}

func (s *playedShop) close() {
	for _, service := range s.services {
		service.listener.Close() //nolint:errcheck // nothing was written
	}
}

// Run plays traffic and answers scrapes until ctx is cancelled.
func (s *playedShop) Run(ctx context.Context) error {
	var servers []*http.Server
	ended := make(chan error, len(s.services))
	for _, service := range s.services {
		server := &http.Server{Handler: promhttp.HandlerFor(service.registry, promhttp.HandlerOpts{}), ReadHeaderTimeout: time.Second}
		servers = append(servers, server)
		go func() { ended <- server.Serve(service.listener) }() // ends when the server is closed below
	}
	tick := time.NewTicker(playTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.play()
		case <-ctx.Done():
			var faults []error
			for _, server := range servers {
				server.Close() //nolint:errcheck // what is still open is cut off
				if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
					faults = append(faults, err)
				}
			}
			return errors.Join(faults...)
		}
	}
}

// play adds the requests of one tick.
func (s *playedShop) play() {
	for _, service := range s.services {
		for _, t := range playedTenants {
			failing := 0.0001
			if s.incident.Load() && service.name == "search" && t.name == "acme" {
				failing = 0.08
			}
			for range s.count(t.rate * playTick.Seconds()) {
				code := "200"
				if s.random.Float64() < failing {
					code = "500"
				}
				service.requests.WithLabelValues(t.name, code).Inc()
			}
		}
	}
}

// count rounds the mean up or down by chance, so that its sum over time is right.
func (s *playedShop) count(mean float64) int {
	whole := int(mean)
	if s.random.Float64() < mean-float64(whole) {
		whole++
	}
	return whole
}
