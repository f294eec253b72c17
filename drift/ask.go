package drift

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// askTimeout is how long a running program may take to answer.
const askTimeout = 10 * time.Second

// asked is an endpoint that can be asked. name is its URL without user name and password.
type asked struct {
	name   string
	base   *url.URL
	client *http.Client
}

func ask(e Endpoint) (asked, error) {
	u, err := url.Parse(strings.TrimSuffix(e.URL, "/"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		// The error of the standard library quotes the URL, and with it a password.
		return asked{name: "the URL"}, errors.New("the URL can't be read: write http://host:port")
	}
	bare := *u
	bare.User, bare.RawQuery, bare.Fragment = nil, "", ""
	client := e.Client
	if client == nil {
		client = &http.Client{Timeout: askTimeout}
	}
	return asked{name: bare.String(), base: u, client: client}, nil
}

// get reads a bounded answer; query is already encoded.
func (a asked) get(ctx context.Context, path, query string) ([]byte, error) {
	u := a.base.JoinPath(path)
	u.RawQuery = query
	user := u.User
	u.User = nil
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, errors.New("the URL can't be asked")
	}
	if password, ok := user.Password(); ok || user.Username() != "" {
		req.SetBasicAuth(user.Username(), password)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxFile+1))
	switch {
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("it answers %s", resp.Status)
	case err != nil:
		return nil, fmt.Errorf("its answer breaks off: %w", withoutURL(err))
	case len(body) > maxFile:
		return nil, fmt.Errorf("its answer is larger than %d MiB", maxFile>>20)
	case isHTML(resp.Header.Get("Content-Type"), body):
		return nil, errors.New("it answers with a page in HTML: something else stands at this URL, or a login before it")
	}
	return body, nil
}

// json reads an answer into a value.
func (a asked) json(ctx context.Context, path, query string, into any) error {
	body, err := a.get(ctx, path, query)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("its answer is not the JSON that was expected: %w", err)
	}
	return nil
}

func isHTML(contentType string, body []byte) bool {
	return strings.HasPrefix(contentType, "text/html") || bytes.HasPrefix(bytes.TrimSpace(body), []byte("<"))
}

// withoutURL keeps an error's cause. The URL that net/http puts before it stands elsewhere, without password.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return errors.New("it does not answer in time")
	}
	return err
}
