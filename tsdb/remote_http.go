package tsdb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/prometheus/prometheus/model/labels"
)

const (
	maxAnswer  = 512 << 20 // bytes, unpacked; samples are bounded by themselves
	maxMessage = 4 << 10
	shownRunes = 300
)

// patience bounds how long a server is asked the same thing.
type patience struct {
	tries   int
	first   time.Duration // wait before the second try; it doubles
	longest time.Duration
	obeyed  time.Duration // the longest Retry-After that is waited for
	request time.Duration // for one answer to end
}

func defaultPatience() patience {
	return patience{tries: 7, first: 500 * time.Millisecond, longest: 30 * time.Second, obeyed: 2 * time.Minute, request: 5 * time.Minute}
}

// errTooMuch says that an answer holds more than we take at a time, or than the server gives.
var errTooMuch = errors.New("too much for one answer")

// answerError is an answer that brought no samples, or not all.
type answerError struct {
	url    string
	status int // 0 where there was none
	err    error
	again  bool          // asking again may help
	after  time.Duration // as the server asks
	split  bool          // asking for less may help
	tries  int
}

func (e *answerError) Error() string {
	text := e.url
	if e.status != 0 {
		text += fmt.Sprintf(": status %d %s", e.status, http.StatusText(e.status))
	}
	text += ": " + e.err.Error()
	if e.tries > 1 {
		text += fmt.Sprintf(" (given up after %d tries)", e.tries)
	}
	return text
}

func (e *answerError) Unwrap() error { return e.err }

// Is tells that the server does not know the path or the method.
func (e *answerError) Is(target error) bool {
	switch e.status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusGone:
		return target == ErrNotServed
	}
	return false
}

// forAll tells that every other question would end alike.
func (e *answerError) forAll() bool {
	return e.again || e.status == 0 || e.status == http.StatusUnauthorized || e.status == http.StatusForbidden
}

// ask asks for the samples of one selector in the time of p, until they are all there.
func (r *Remote) ask(ctx context.Context, how protocol, selector []*labels.Matcher, p *piece) error {
	floats, histograms := len(p.floats), len(p.histograms)
	build := func() (*http.Request, error) { return how.request(ctx, r.base, selector, p.mint, p.maxt) }
	return r.do(ctx, build, func(answer *http.Response) error {
		p.floats, p.histograms = p.floats[:floats], p.histograms[:histograms] // of an answer that broke off
		return how.decode(answer, p)
	})
}

// do asks until there is an answer that decode takes, with pauses that grow.
func (r *Remote) do(ctx context.Context, build func() (*http.Request, error), decode func(*http.Response) error) error {
	wait := r.patience.first
	for try := 1; ; try++ {
		err := r.once(ctx, build, decode)
		a, ok := errors.AsType[*answerError](err)
		if !ok {
			return err
		}
		if a.tries = try; !a.again || try >= r.patience.tries || a.after > r.patience.obeyed {
			return a
		}
		pause := max(a.after, wait/2+rand.N(wait))
		wait = min(2*wait, r.patience.longest)
		r.opts.Logger.Debug("The server will be asked again", "pause", pause, "err", a)
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// once asks once. An error is an *answerError, or that of ctx.
func (r *Remote) once(ctx context.Context, build func() (*http.Request, error), decode func(*http.Response) error) error {
	request, err := build()
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, r.patience.request)
	defer cancel()
	request.Header.Set("User-Agent", "slowburn")
	answer, err := r.opts.Client.Do(request.WithContext(limited))
	if err != nil {
		return r.broken(ctx, request.URL, 0, err)
	}
	defer answer.Body.Close()
	body := &bounded{answer.Body, maxAnswer}
	answer.Body = body
	if answer.StatusCode != http.StatusOK {
		return refusal(request.URL, answer)
	}
	if err := decode(answer); err != nil {
		return r.broken(ctx, request.URL, answer.StatusCode, err)
	}
	return nil
}

// broken says what an answer that did not come, or broke off, means.
func (r *Remote) broken(ctx context.Context, u *url.URL, status int, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // it repeats the URL, with what is secret in it
	}
	a := &answerError{url: redacted(u), status: status, err: err}
	switch {
	case errors.Is(err, errTooMuch):
		a.split = true
	case errors.Is(err, context.DeadlineExceeded):
		a.err, a.split = fmt.Errorf("no whole answer within %s", r.patience.request), true
	case status == 0 || errors.Is(err, errCutOff):
		a.again = true
	}
	return a
}

// errCutOff is wrapped by the errors of answers that end too early, or get lost on the way.
var errCutOff = errors.New("the answer is cut off or garbled")

func cutOff(err error) error {
	if errors.Is(err, errTooMuch) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errWrongAnswer) {
		return err
	}
	return fmt.Errorf("%w: %w", errCutOff, err)
}

// bounded ends in an error where more is read than it has.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("more than %d MiB: %w", maxAnswer>>20, errTooMuch)
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// sizeWords stand in the messages of servers that would answer a smaller question.
func sizeWords(message string) bool {
	return regexp.MustCompile(`(?i)too (many|large|long|big|much)|exceed|limit|maximum|max[ _-]|timed? ?out|memory`).MatchString(message)
}

// refusal reads what the server says instead of samples.
func refusal(u *url.URL, answer *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxMessage))
	a := &answerError{url: redacted(u), status: answer.StatusCode, err: errors.New(message(answer, text))}
	if err != nil && len(text) == 0 {
		a.err = err
	}
	switch answer.StatusCode {
	case http.StatusTooManyRequests:
		a.again, a.after = true, retryAfter(answer)
	case http.StatusRequestEntityTooLarge:
		a.split = true
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		a.split = sizeWords(string(text))
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		a.split = sizeWords(string(text)) || answer.StatusCode == http.StatusGatewayTimeout
		a.again, a.after = !a.split, retryAfter(answer)
	}
	return a
}

// retryAfter is how many seconds the server asks to be left alone, or until when by its own clock.
func retryAfter(answer *http.Response) time.Duration {
	text := answer.Header.Get("Retry-After")
	if n, err := strconv.Atoi(text); err == nil && n >= 0 && n < 1<<31 {
		return time.Duration(n) * time.Second
	}
	until, err := http.ParseTime(text)
	now, errNow := http.ParseTime(answer.Header.Get("Date"))
	if err != nil || errNow != nil {
		return 0
	}
	return max(0, until.Sub(now))
}

// message is what the server says, in one line that a terminal can take.
func message(answer *http.Response, text []byte) string {
	var said struct{ Error, Message string }
	if json.Unmarshal(text, &said) == nil && said.Error+said.Message != "" {
		text = []byte(said.Error + said.Message)
	}
	if isHTML(answer, text) {
		return "an HTML page"
	}
	line := strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return ' '
	}, strings.TrimSpace(string(text)))
	if line == "" {
		return "no message"
	}
	if all := []rune(line); len(all) > shownRunes {
		line = string(all[:shownRunes]) + "…"
	}
	return line
}

func isHTML(answer *http.Response, text []byte) bool {
	return strings.Contains(answer.Header.Get("Content-Type"), "html") || bytes.HasPrefix(bytes.TrimSpace(text), []byte("<"))
}

// errWrongAnswer is wrapped by the errors of answers that are whole, and something else than was asked for.
var errWrongAnswer = errors.New("not what a Prometheus answers")

func wantJSON(answer *http.Response) error {
	if kind := answer.Header.Get("Content-Type"); !strings.Contains(kind, "json") {
		return wrongType(kind)
	}
	return nil
}

func wrongType(kind string) error {
	if strings.Contains(kind, "html") {
		kind += ", a page for people: is this the server itself, with its path prefix, and are you logged in"
	}
	return fmt.Errorf("%w: content type %q", errWrongAnswer, kind)
}
