package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"

	"github.com/slowburn/slowburn/scrape"
)

// loadRemote reads the remote_write section, and the external labels, of a file in Prometheus's own syntax.
func loadRemote(path string) (*config.Config, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("--remote-write-config: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxSettings {
		return nil, fmt.Errorf("--remote-write-config %s: not a regular file of at most %d KiB", path, maxSettings>>10)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--remote-write-config: %w", err)
	}
	cfg, err := config.Load(string(content), slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	cfg.SetDirectory(filepath.Dir(path))
	if len(cfg.RemoteWriteConfigs) == 0 {
		return nil, fmt.Errorf("%s: it has no remote_write section", path)
	}
	for _, one := range cfg.RemoteWriteConfigs {
		hideUser(one)
	}
	return cfg, nil
}

// hideUser makes basic authentication of the user and password in a URL, which upstream's queues write into their log.
func hideUser(one *config.RemoteWriteConfig) {
	if one.URL == nil || one.URL.User == nil {
		return
	}
	own := *one.URL.URL
	if c := &one.HTTPClientConfig; c.BasicAuth == nil && c.Authorization == nil && c.OAuth2 == nil {
		password, _ := own.User.Password()
		c.BasicAuth = &promconfig.BasicAuth{Username: own.User.Username(), Password: promconfig.Secret(password)}
	}
	own.User = nil
	one.URL = &promconfig.URL{URL: &own}
}

// remotePatience is how long each queue may go on sending when it is told to end; they end one after the other.
const remotePatience = 2 * time.Second

// lateScraper is the scraper of a watch, which is made after the queues that ask it for metadata.
type lateScraper struct{ w *watch }

// Get implements remote.ReadyScrapeManager.
func (l lateScraper) Get() (*scrape.Manager, error) { return l.w.scraper.Get() }

// openRemote makes upstream's queue manager, which follows the write-ahead log from where it ends now. Nothing is
// sent before a plan says where to.
func (w *watch) openRemote() {
	if !w.o.remote {
		return
	}
	log := demoted(w.o.logger).With("component", "remote")
	w.remote = remote.NewStorage(log, w.registry, w.db.StartTime, w.o.dataDir, remotePatience, lateScraper{w}, false)
	w.db.SetWriteNotified(w.remote)
}

// applyRemote puts a plan's queues in force; those that did not change go on.
func (w *watch) applyRemote(p *plan) error {
	if w.remote == nil {
		return nil
	}
	if err := w.remote.ApplyConfig(p.remote); err != nil {
		return fmt.Errorf("apply remote_write: %w", err)
	}
	return nil
}

// followRemote lets the queues send what they hold when all that writes has ended.
func (w *watch) followRemote(ctx context.Context) error {
	<-ctx.Done()
	if w.remote == nil {
		return nil
	}
	w.db.SetWriteNotified(nil)
	if err := w.remote.Close(); err != nil {
		return fmt.Errorf("close remote_write: %w", err)
	}
	return nil
}

// samples is where samples go: to the database, and by remote_write's own account of how many there are. What it
// reads is the database alone.
type samples struct {
	storage.Queryable
	storage.Appendable
	storage.AppendableV2
}

func (w *watch) samples() samples {
	if w.remote == nil {
		return samples{w.db, w.db, w.db}
	}
	fan := storage.NewFanout(w.o.logger, w.db, w.remote)
	return samples{w.db, fan, fan}
}

// checkRemote finds what upstream would find only when the queues are made.
func checkRemote(cfg *config.Config) error {
	var errs []error
	for _, one := range cfg.RemoteWriteConfigs {
		_, err := remote.NewWriteClient(one.Name, &remote.ClientConfig{
			URL: one.URL, WriteProtoMsg: one.ProtobufMessage, Timeout: one.RemoteTimeout, HTTPClientConfig: one.HTTPClientConfig,
			SigV4Config: one.SigV4Config, AzureADConfig: one.AzureADConfig, GoogleIAMConfig: one.GoogleIAMConfig, Headers: one.Headers,
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("remote_write %s: %w", one.URL.Redacted(), err))
		}
	}
	return errors.Join(errs...)
}
