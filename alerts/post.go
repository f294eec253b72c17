package alerts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-openapi/runtime"
	httptransport "github.com/go-openapi/runtime/client"
	"github.com/go-openapi/strfmt"
	"github.com/prometheus/alertmanager/api/v2/client/alert"
	"github.com/prometheus/alertmanager/api/v2/models"
	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
)

// Endpoint is an Alertmanager and the way to reach it.
type Endpoint struct {
	// URL is where its pages are: http://alertmanager:9093, with the path of --web.external-url if it has one.
	// A user name and password in it are used for basic authentication, and shown nowhere.
	URL string
	// HTTP holds TLS, basic authentication, bearer token and proxy. The zero value works; files that it names are
	// read again when they change.
	HTTP promconfig.HTTPClientConfig
	// Timeout bounds one POST to it, where it is shorter than Options.Timeout; zero means that one.
	Timeout time.Duration
}

// name is the URL without user name and password: the label in metrics and logs, and the identity of the queue.
func (e Endpoint) name() (string, error) {
	u, err := e.parse()
	if err != nil {
		return "", err
	}
	u.User = nil
	return u.String(), nil
}

func (e Endpoint) parse() (*url.URL, error) {
	u, err := url.Parse(strings.TrimSuffix(e.URL, "/"))
	if err != nil {
		// The error of the standard library quotes the URL, and with it a password.
		return nil, errors.New("alertmanager URL cannot be read: write http://host:port")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		u.User = nil
		return nil, fmt.Errorf("alertmanager URL %q has no scheme or host: write http://host:port", u)
	}
	return u, nil
}

// ErrRefused is the answer of an Alertmanager that blames the alerts, not itself or the way to it.
type ErrRefused struct{ Reason string }

func (e *ErrRefused) Error() string { return "refused: " + e.Reason }

// connect posts by Alertmanager's own API client.
func connect(e Endpoint) (Poster, error) {
	api, err := e.api(func(next http.RoundTripper) http.RoundTripper { return plainAnswers{next} })
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, alerts models.PostableAlerts) error {
		if e.Timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, e.Timeout)
			defer cancel()
		}
		_, err := api.PostAlerts(alert.NewPostAlertsParamsWithContext(ctx).WithAlerts(alerts))
		return answer(err)
	}, nil
}

// api is Alertmanager's own API client, over a transport that is wrapped.
func (e Endpoint) api(wrap func(http.RoundTripper) http.RoundTripper) (alert.ClientService, error) {
	u, err := e.parse()
	if err != nil {
		return nil, err
	}
	cfg := e.HTTP
	if u.User != nil && cfg.BasicAuth == nil && cfg.Authorization == nil {
		password, _ := u.User.Password()
		cfg.BasicAuth = &promconfig.BasicAuth{Username: u.User.Username(), Password: promconfig.Secret(password)}
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	client, err := promconfig.NewClientFromConfig(cfg, "alertmanager")
	if err != nil {
		return nil, err
	}
	client.Transport = wrap(client.Transport)
	transport := httptransport.NewWithClient(u.Host, u.JoinPath("/api/v2").Path, []string{u.Scheme}, client)
	return alert.New(transport, strfmt.Default), nil
}

// plainAnswers turns the body of each answer into what the API client can read: a proxy in between answers in HTML,
// and the client would then lose the status, and with it whose fault it was. It also bounds the body.
type plainAnswers struct{ next http.RoundTripper }

const maxAnswer = 4 << 10

// RoundTrip implements http.RoundTripper.
func (p plainAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := p.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	var text string
	if json.Unmarshal(body, &text) != nil {
		if body, err = json.Marshal(string(body)); err != nil {
			return nil, err
		}
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	resp.ContentLength = int64(len(body))
	resp.Header = resp.Header.Clone()
	resp.Header.Set("Content-Type", "application/json")
	resp.Header.Del("Content-Encoding")
	return resp, nil
}

// answer tells the answers apart: delivered, the alerts' fault, anything else.
func answer(err error) error {
	if invalid, ok := errors.AsType[*alert.PostAlertsBadRequest](err); ok {
		return &ErrRefused{Reason: clip(invalid.Payload)}
	}
	if internal, ok := errors.AsType[*alert.PostAlertsInternalServerError](err); ok {
		return fmt.Errorf("status 500: %s", clip(internal.Payload))
	}
	var other *runtime.APIError
	if !errors.As(err, &other) {
		return err
	}
	switch {
	case other.Code/100 == 2:
		return nil
	case other.Code == http.StatusRequestEntityTooLarge, other.Code == http.StatusUnprocessableEntity:
		return &ErrRefused{Reason: http.StatusText(other.Code)}
	}
	return fmt.Errorf("status %d %s", other.Code, http.StatusText(other.Code))
}

func clip(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > 500 {
		return strings.ToValidUTF8(s[:500], "") + "…"
	}
	return s
}

func postable(batch []item) models.PostableAlerts {
	out := make(models.PostableAlerts, len(batch))
	for n, i := range batch {
		out[n] = &models.PostableAlert{
			StartsAt: strfmt.DateTime(i.Starts), EndsAt: strfmt.DateTime(i.Ends), Annotations: i.Annotations,
			Alert: models.Alert{Labels: i.Labels, GeneratorURL: strfmt.URI(i.Generator)},
		}
	}
	return out
}

// looksOdd says whether some Alertmanager may call i invalid: one before 0.27 takes no label names beyond ASCII.
func looksOdd(i item) bool {
	if len(i.Labels) == 0 {
		return true
	}
	for _, set := range []map[string]string{i.Labels, i.Annotations} {
		for name, value := range set {
			if !model.LegacyValidation.IsValidLabelName(name) || !utf8.ValidString(value) {
				return true
			}
		}
	}
	return i.Starts.IsZero()
}
