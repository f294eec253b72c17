// Command shophistory makes thirty days of requests to the services of fixtures/shop, with the incidents among them:
// blocks for slowburn backtest --history, and incidents.csv beside them. The same seed gives the same samples.
package main

import (
	"context"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/slowburn/slowburn/backtest"
	"github.com/slowburn/slowburn/tsdb"
)

const scrape = 30 * time.Second

// start is a Monday, so that weekends fall where they should.
func start() time.Time { return time.Date(2026, time.January, 5, 0, 0, 0, 0, time.UTC) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "shophistory:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	out := flag.String("out", "shophistory", "directory to make: blocks in data, and incidents.csv")
	days := flag.Int("days", 30, "how many days, 1 to 400")
	seed := flag.Uint64("seed", 1, "another seed makes another month")
	flag.Parse()
	if *days < 1 || *days > 400 {
		return fmt.Errorf("-days %d is outside 1 to 400", *days)
	}
	w := newWorld(*seed, *days)
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	data := filepath.Join(*out, "data")
	if _, err := os.Stat(data); err == nil {
		return fmt.Errorf("%s is there already: remove it, or name another -out", data)
	}
	mint, maxt := start().UnixMilli(), w.end().UnixMilli()
	if err := tsdb.Import(ctx, w.series, mint, maxt, data, nil); err != nil {
		return err
	}
	return w.writeIncidents(filepath.Join(*out, "incidents.csv"))
}

// incident is a time at which a share of a tenant's requests to a service fails.
type incident struct {
	service, tenant, note string
	start, end            time.Time
	ratio                 float64
}

// world is the shop's month.
type world struct {
	days      int
	incidents []incident
	series    backtest.Memory
}

// A tenant's share of the traffic, in requests a second at noon of a working day.
var tenants = []struct {
	name string
	rate float64
}{{"acme", 12}, {"globex", 4}, {"initech", 0.8}, {"umbrella", 0.05}}

// newWorld places the incidents: of all kinds that differ in how an alert should meet them.
func newWorld(seed uint64, days int) *world {
	w := &world{days: days}
	at := func(day int, hour, minute int, length time.Duration, service, tenant string, ratio float64, note string) {
		from := start().Add(time.Duration(day)*24*time.Hour + time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute)
		if from.Add(length).Before(w.end()) {
			w.incidents = append(w.incidents, incident{service, tenant, note, from, from.Add(length), ratio})
		}
	}
	at(2, 10, 12, 35*time.Minute, "api", "acme", 0.6, "bad deployment, rolled back")
	at(5, 14, 3, 4*time.Hour, "api", "globex", 0.06, "one of sixteen replicas out of memory")
	at(8, 3, 40, 25*time.Minute, "search", "acme", 1, "index lost")
	at(11, 9, 0, 9*time.Hour, "analytics", "initech", 0.12, "slow leak of connections")
	at(13, 16, 20, 50*time.Minute, "api", "initech", 0.3, "expired certificate of one upstream")
	at(17, 11, 5, 8*time.Minute, "search", "globex", 0.5, "restart of the index")
	at(20, 19, 30, 2*time.Hour, "analytics", "acme", 0.35, "database failover")
	at(23, 8, 15, 70*time.Minute, "api", "acme", 0.2, "rate limiter set too low")
	at(26, 13, 0, 15*time.Minute, "search", "initech", 0.8, "bad deployment, rolled back")
	at(28, 22, 10, 3*time.Hour, "api", "globex", 0.09, "noisy neighbour")
	for k, service := range []string{"analytics", "api", "search"} {
		for n, t := range tenants {
			for c, code := range []string{"200", "500"} {
				w.series = append(w.series, w.counter(seed, uint64(k*100+n*10+c), service, t.name, code, t.rate))
			}
		}
	}
	w.series = backtest.NewMemory(w.series)
	return w
}

func (w *world) end() time.Time { return start().Add(time.Duration(w.days) * 24 * time.Hour) }

// counter is one series, made whole: two months of it are a few megabytes.
func (w *world) counter(seed, stream uint64, service, tenant, code string, rate float64) backtest.Samples {
	c := backtest.Samples{Labels: labels.FromStrings(labels.MetricName, "http_requests_total",
		"code", code, "instance", service+":8080", "job", service, "service", service, "tenant", tenant)}
	random := rand.New(rand.NewPCG(seed, stream))
	sum := 0.0
	for at := start(); !at.After(w.end()); at = at.Add(scrape) {
		failed := 0.0002
		for _, i := range w.incidents {
			if i.service == service && i.tenant == tenant && !at.Before(i.start) && at.Before(i.end) {
				failed = i.ratio
			}
		}
		if code == "200" {
			failed = 1 - failed
		}
		if random.Float64() < 5e-5 {
			sum = 0 // a deployment
		}
		sum += events(random, rate*daily(at)*scrape.Seconds()*failed)
		c.Times, c.Values = append(c.Times, at.UnixMilli()), append(c.Values, sum)
	}
	return c
}

// daily is the traffic at a time beside that at noon of a working day.
func daily(at time.Time) float64 {
	hour := float64(at.Hour()) + float64(at.Minute())/60
	share := 0.55 - 0.45*math.Cos(2*math.Pi*(hour-1)/24)
	if at.Weekday() == time.Saturday || at.Weekday() == time.Sunday {
		share *= 0.4
	}
	return share
}

// events is a whole number about an expected one: Poisson's spread, by a normal one where there are many.
func events(random *rand.Rand, expected float64) float64 {
	if expected > 30 {
		return max(0, math.Round(expected+math.Sqrt(expected)*random.NormFloat64()))
	}
	n, p, floor := 0.0, random.Float64(), math.Exp(-expected)
	for p > floor {
		n++
		p *= random.Float64()
	}
	return n
}

func (w *world) writeIncidents(path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	c := csv.NewWriter(f)
	rows := [][]string{{"service", "tenant", "start", "end", "ratio", "note"}}
	for _, i := range w.incidents {
		rows = append(rows, []string{i.service, i.tenant, i.start.Format(time.RFC3339), i.end.Format(time.RFC3339), strconv.FormatFloat(i.ratio, 'g', -1, 64), i.note})
	}
	return c.WriteAll(rows)
}
