package alerts

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestProveAgainstTheRealAlertmanager(t *testing.T) {
	am := startReal(t)
	config := `route: {receiver: team, group_wait: 5m, routes: [{matchers: ['severity="page"'], receiver: on-call, continue: true}, {matchers: ['severity="page"'], receiver: boss}]}
receivers: [{name: team}, {name: on-call}, {name: boss}]
`
	if err := os.WriteFile(filepath.Join(am.dir, "alertmanager.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(am.url+"/-/reload", "", nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	labels := map[string]string{"alertname": "ErrorBudgetBurn", "severity": "page", "service": "api"}
	proof, err := Prove(t.Context(), Endpoint{URL: am.url}, labels, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(proof.Receivers, []string{"on-call", "boss"}) || proof.State != "active" {
		t.Errorf("proof %+v", proof)
	}
	resp, err = http.Get(am.url + "/api/v2/alerts")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if left, _ := io.ReadAll(resp.Body); strings.TrimSpace(string(left)) != "[]" {
		t.Errorf("the test alert still fires: %s", left)
	}
}

func TestProveOfAnAlertThatNeverShowsUp(t *testing.T) {
	var posts atomic.Int32
	var ends atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost {
			posts.Add(1)
			var alerts []struct {
				EndsAt time.Time         `json:"endsAt"`
				Labels map[string]string `json:"labels"`
			}
			if err := json.NewDecoder(r.Body).Decode(&alerts); err != nil || len(alerts) != 1 || alerts[0].Labels[TestLabel] != "true" {
				t.Errorf("posted %+v, %v", alerts, err)
			}
			ends.Store(alerts[0].EndsAt)
			return
		}
		io.WriteString(w, "[]")
	}))
	defer server.Close()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	_, err := Prove(t.Context(), Endpoint{URL: server.URL, Timeout: 300 * time.Millisecond}, nil, at)
	if err == nil || !strings.Contains(err.Error(), "does not show up") && !strings.Contains(err.Error(), "deadline") {
		t.Errorf("error %v", err)
	}
	if posts.Load() != 2 || !ends.Load().(time.Time).Equal(at) {
		t.Errorf("%d posts, the last ends %v: the alert is not resolved", posts.Load(), ends.Load())
	}
}

func TestProveSaysWhatIsWrongAndNoPassword(t *testing.T) {
	html := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<html>login</html>")
	}))
	defer html.Close()
	down := httptest.NewServer(nil)
	down.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, url := range []string{html.URL, down.URL, "nonsense", "http://%zz"} {
		_, err := Prove(ctx, Endpoint{URL: strings.Replace(url, "://", "://me:secret@", 1), Timeout: time.Second}, nil, time.Now())
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v", url, err)
		}
	}
}
