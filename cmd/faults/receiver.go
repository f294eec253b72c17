package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"
)

// receiver is an Alertmanager as far as a sender can tell, which behaves as its mode says.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	mode  string // ok, 500, 503, 404, hang, close, slow
	posts int
	got   []delivered
	stop  chan struct{}
}

// delivered is one alert of one POST that was taken.
type delivered struct {
	labels   map[string]string
	startsAt time.Time
	endsAt   time.Time
	at       time.Time // when it came
}

// resolved reports whether the alert had ended when it came.
func (d delivered) resolved() bool { return !d.endsAt.After(d.at) }

func (t *trial) receive() *receiver {
	r := &receiver{mode: "ok", stop: make(chan struct{})}
	r.Server = httptest.NewServer(r)
	t.defers(r.Server.Close)
	t.defers(func() { close(r.stop) })
	return r
}

func (r *receiver) set(mode string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mode = mode
	if mode != "ok" {
		r.CloseClientConnections()
	}
}

// ServeHTTP takes POSTs of alerts, and nothing else.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	mode := r.mode
	r.posts++
	r.mu.Unlock()
	switch mode {
	case "500", "503", "404":
		http.Error(w, "not now", map[string]int{"500": 500, "503": 503, "404": 404}[mode])
		return
	case "hang":
		pause(req.Context(), r.stop, time.Hour)
		return
	case "close":
		panic(http.ErrAbortHandler)
	case "slow":
		pause(req.Context(), r.stop, 200*time.Millisecond)
	}
	if req.Method != http.MethodPost || !strings.HasSuffix(req.URL.Path, "/api/v2/alerts") {
		http.NotFound(w, req)
		return
	}
	r.take(w, req.Body)
}

// take stores the alerts that are well formed, as Alertmanager does, and answers 400 where one is not.
func (r *receiver) take(w http.ResponseWriter, body io.Reader) {
	var alerts []struct {
		Labels           map[string]string
		StartsAt, EndsAt time.Time
	}
	if err := json.NewDecoder(body).Decode(&alerts); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var refused string
	for _, a := range alerts {
		if a.Labels["poison"] != "" {
			refused = fmt.Sprintf("alert %v: label name \"poison\" is not valid", a.Labels)
			continue
		}
		r.got = append(r.got, delivered{labels: a.Labels, startsAt: a.StartsAt, endsAt: a.EndsAt, at: time.Now()})
	}
	if refused != "" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, "%q", refused) // a JSON string, as Alertmanager answers
	}
}

func (r *receiver) posted() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.posts
}

// of lists what came of one alert, in order.
func (r *receiver) of(name string) []delivered {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []delivered
	for _, d := range r.got {
		if d.labels["alertname"] == "Broken" && d.labels["name"] == name {
			all = append(all, d)
		}
	}
	return all
}

// distinct counts the firing alerts that came at least once.
func (r *receiver) distinct() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := map[string]bool{}
	for _, d := range r.got {
		names[d.labels["name"]] = true
	}
	return len(names)
}

// firing reports whether the newest word about an alert is that it fires.
func (r *receiver) firing(name string) bool {
	all := r.of(name)
	return len(all) > 0 && !all[len(all)-1].resolved()
}

// ended reports whether the newest word about an alert is that it has ended.
func (r *receiver) ended(name string) bool {
	all := r.of(name)
	return len(all) > 0 && all[len(all)-1].resolved()
}

// steady checks that an alert which fired all the time was never told otherwise: one start, no end.
func (r *receiver) steady(name string) error {
	all := r.of(name)
	if len(all) == 0 {
		return fmt.Errorf("alert %s never came", name)
	}
	if i := slices.IndexFunc(all, delivered.resolved); i >= 0 {
		return fmt.Errorf("alert %s was told resolved, and fires: ends %s, came %s", name, all[i].endsAt, all[i].at)
	}
	for _, d := range all {
		if !d.startsAt.Equal(all[0].startsAt) {
			return fmt.Errorf("alert %s began at %s, and again at %s", name, all[0].startsAt, d.startsAt)
		}
	}
	return nil
}

// lasting checks that an Alertmanager, by its own clock, holds an alert for firing still.
func (r *receiver) lasting(name string, at time.Time) error {
	all := r.of(name)
	if last := all[len(all)-1]; !last.endsAt.After(at) {
		return fmt.Errorf("alert %s came last %s ago, and ended %s ago", name, at.Sub(last.at), at.Sub(last.endsAt))
	}
	return nil
}
