package scrape

import (
	"context"
	"net"

	"github.com/prometheus/prometheus/storage"
)

// hangUp ends all connections to targets at once. Upstream lets a scrape under way go on until its timeout,
// and a target that hangs would hold up the end of the program for so long.
type hangUp struct {
	ctx context.Context //nolint:containedctx // not a call's context, which must not be kept, but the lifetime of all connections
	now context.CancelFunc
}

func newHangUp() *hangUp {
	ctx, cancel := context.WithCancel(context.Background())
	return &hangUp{ctx: ctx, now: cancel}
}

func (h *hangUp) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.ctx, cancel)()
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, forget: context.AfterFunc(h.ctx, func() { _ = c.Close() })}, nil
}

// conn is closed by its hangUp, unless it was closed before.
type conn struct {
	net.Conn
	forget func() bool
}

func (c *conn) Close() error {
	c.forget()
	return c.Conn.Close()
}

// appendable hands appenders on which, once hung up, commit nothing: what a scrape that was cut off would report is
// that its target is down and all its series ended.
type appendable struct {
	storage.AppendableV2
	hangUp *hangUp
}

func (a appendable) AppenderV2(ctx context.Context) storage.AppenderV2 {
	return appender{a.AppendableV2.AppenderV2(ctx), a.hangUp}
}

type appender struct {
	storage.AppenderV2
	hangUp *hangUp
}

func (a appender) Commit() error {
	if a.hangUp.ctx.Err() != nil {
		return a.Rollback()
	}
	return a.AppenderV2.Commit()
}
