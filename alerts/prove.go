package alerts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/go-openapi/strfmt"
	"github.com/prometheus/alertmanager/api/v2/client/alert"
	"github.com/prometheus/alertmanager/api/v2/models"
	"github.com/prometheus/common/model"
)

// TestLabel marks the alert of a Prove, so that it is nobody's real one.
const TestLabel = "slowburn_test"

// Bounds of a Prove.
const (
	DefaultProve = 10 * time.Second
	proveEnds    = 5 * time.Minute // the test alert ends by itself, should nobody be left to resolve it
	provePause   = 100 * time.Millisecond
	maxAlerts    = 1 << 20 // bytes of the answer that lists alerts
)

// Proof is what an Alertmanager made of a test alert.
type Proof struct {
	Receivers []string // whom its routes lead to
	State     string   // active, suppressed or unprocessed
	Held      []string // what suppresses it: silences, inhibiting alerts, time intervals
}

// Prove posts one alert that carries the given labels and the mark TestLabel, reads it back with its receivers and
// resolves it again, all within a bounded time. at is the alert's start. Where a route waits for its group longer than
// the proof takes, as they do by default, nobody is notified.
func Prove(ctx context.Context, e Endpoint, labels map[string]string, at time.Time) (proof Proof, err error) {
	name, err := e.name()
	if err != nil {
		return Proof{}, err
	}
	post, err := connect(e)
	if err != nil {
		return Proof{}, fmt.Errorf("alertmanager %s: %w", name, err)
	}
	api, err := e.api(func(next http.RoundTripper) http.RoundTripper { return boundedAnswers{next} })
	if err != nil {
		return Proof{}, fmt.Errorf("alertmanager %s: %w", name, err)
	}
	timeout := e.Timeout
	if timeout <= 0 {
		timeout = DefaultProve
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	t := test(labels, at)
	if err := post(bounded, models.PostableAlerts{t}); err != nil {
		return Proof{}, fmt.Errorf("post test alert to alertmanager %s: %w", name, err)
	}
	defer func() {
		if failed := resolve(ctx, post, t, at, timeout); failed != nil {
			err = errors.Join(err, fmt.Errorf("resolve test alert at alertmanager %s, which will end it in %s: %w", name, proveEnds, failed))
		}
	}()
	if proof, err = readBack(bounded, api, t.Labels); err != nil {
		return Proof{}, fmt.Errorf("read test alert back from alertmanager %s: %w", name, err)
	}
	return proof, nil
}

func test(labels map[string]string, at time.Time) *models.PostableAlert {
	marked := models.LabelSet{}
	maps.Copy(marked, labels)
	marked[TestLabel] = "true"
	return &models.PostableAlert{
		StartsAt: strfmt.DateTime(at), EndsAt: strfmt.DateTime(at.Add(proveEnds)),
		Annotations: models.LabelSet{"summary": "A test by slowburn, resolved at once: nothing is wrong."},
		Alert:       models.Alert{Labels: marked},
	}
}

// resolve is done although ctx may be over: what was posted must not go on firing.
func resolve(ctx context.Context, post Poster, t *models.PostableAlert, at time.Time, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	ended := *t
	ended.EndsAt = strfmt.DateTime(at)
	return post(ctx, models.PostableAlerts{&ended})
}

// readBack asks until the alert is there and processed.
func readBack(ctx context.Context, api alert.ClientService, labels models.LabelSet) (Proof, error) {
	var filter []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if model.LegacyValidation.IsValidLabelName(name) {
			filter = append(filter, fmt.Sprintf("%s=%q", name, labels[name]))
		}
	}
	ticker := time.NewTicker(provePause)
	defer ticker.Stop()
	for {
		answer, err := api.GetAlerts(alert.NewGetAlertsParamsWithContext(ctx).WithFilter(filter))
		if err != nil {
			return Proof{}, err
		}
		if len(answer.Payload) > 0 && answer.Payload[0].Status != nil {
			if p := proofOf(answer.Payload[0]); p.State != models.AlertStatusStateUnprocessed {
				return p, nil
			}
		}
		select {
		case <-ctx.Done():
			return Proof{}, fmt.Errorf("it does not show up: %w", ctx.Err())
		case <-ticker.C:
		}
	}
}

func proofOf(a *models.GettableAlert) Proof {
	p := Proof{Held: slices.Concat(a.Status.SilencedBy, a.Status.InhibitedBy, a.Status.MutedBy)}
	if a.Status.State != nil {
		p.State = *a.Status.State
	}
	for _, r := range a.Receivers {
		if r != nil && r.Name != nil {
			p.Receivers = append(p.Receivers, *r.Name)
		}
	}
	return p
}

// boundedAnswers cuts answers that are larger than any list with one alert.
type boundedAnswers struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b boundedAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxAlerts), resp.Body}
	return resp, nil
}
