package main

import (
	"context"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// sources watches the files that a plan is made of, by looking at their sizes and times: notifications of the
// system are lost on network mounts and in many containers, and run out in large trees.
type sources struct {
	dir     string
	files   []string // named by flags
	exclude string   // the data directory
	every   time.Duration
	reload  func() error
	failed  func(error)
}

// skippedFolders hold no sources of the services' own.
func skippedFolders() []string {
	return []string{"node_modules", ".git", "dist", "coverage", ".next", ".turbo"}
}

// Run reloads when the sources have changed and then stood still from one look to the next, until ctx is cancelled.
func (s sources) Run(ctx context.Context) error {
	tick := time.NewTicker(s.every)
	defer tick.Stop()
	applied := s.look(ctx)
	last := applied
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := s.look(ctx)
		settled := now == last
		last = now
		if now == applied || !settled || ctx.Err() != nil {
			continue
		}
		applied = now
		if err := s.reload(); err != nil {
			s.failed(err)
		}
	}
}

// look sums up the sources as they are.
func (s sources) look(ctx context.Context) uint64 {
	sum := fnv.New64a()
	add := func(path string, info fs.FileInfo) {
		sum.Write([]byte(path + "\x00" + info.ModTime().Format(time.RFC3339Nano) + "\x00"))
		for size := info.Size(); size > 0; size >>= 8 {
			sum.Write([]byte{byte(size)})
		}
	}
	for _, file := range s.files {
		if info, err := os.Stat(file); err == nil {
			add(file, info)
		}
	}
	filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, err error) error { //nolint:errcheck // what can't be read is not watched
		if err != nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if entry.IsDir() {
			if path != s.dir && slices.Contains(skippedFolders(), entry.Name()) || path == s.exclude {
				return filepath.SkipDir
			}
			return nil
		}
		if !isSource(entry.Name()) {
			return nil
		}
		if info, err := entry.Info(); err == nil {
			add(path, info)
		}
		return nil
	})
	return sum.Sum64()
}

// isSource says whether a file of this name may say something of a contract or of the services.
func isSource(name string) bool {
	switch filepath.Ext(name) {
	case ".ts", ".tsx", ".mts", ".cts", ".yaml", ".yml", ".json":
		return true
	}
	return strings.HasPrefix(name, "Dockerfile") || strings.HasPrefix(name, ".env") || strings.HasSuffix(name, "ignore")
}
