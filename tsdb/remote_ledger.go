package tsdb

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
)

const ledgerName = "fetched.json"

// ledger tells which spans of a remote history stand as blocks in its folder. Its file is replaced after each piece, so
// that after a kill the pieces in it are whole, and blocks that it does not name are none of its own.
type ledger struct {
	dir string

	mu      sync.Mutex
	content ledgerContent
}

// ledgerContent is the file.
type ledgerContent struct {
	Source    string    `json:"source"`
	Selectors []string  `json:"selectors"`
	Pieces    []fetched `json:"pieces"`
}

// fetched is a span whose samples, if it has any, are in Block.
type fetched struct {
	Mint  int64  `json:"mint"`
	Maxt  int64  `json:"maxt"`
	Block string `json:"block,omitempty"`
}

// openLedger makes the folder that h's blocks go to: one that h removes when it is closed, or one of the cache that
// belongs to the same server, asker and selectors, locked until then.
func (r *Remote) openLedger(h *History, selectors [][]*labels.Matcher) (*ledger, error) {
	l := &ledger{content: ledgerContent{Source: redacted(r.base)}}
	for _, s := range selectors {
		l.content.Selectors = append(l.content.Selectors, selectorText(s))
	}
	slices.Sort(l.content.Selectors)
	if r.opts.Cache == "" {
		var err error
		l.dir, err = os.MkdirTemp(r.opts.TempDir, "slowburn-remote-")
		h.temp = l.dir
		return l, err
	}
	identity := strings.Join(append([]string{l.content.Source, r.base.RawQuery, r.opts.Identity, r.protocol.name()}, l.content.Selectors...), "\x00")
	sum := sha256.Sum256([]byte(identity))
	l.dir = filepath.Join(r.opts.Cache, hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(l.dir, 0o777); err != nil {
		return nil, err
	}
	lock, err := lockDir(l.dir)
	if err != nil {
		return nil, err
	}
	h.lock = lock
	return l, l.load()
}

// load reads the file, and removes the blocks that it does not name.
func (l *ledger) load() error {
	path := filepath.Join(l.dir, ledgerName)
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		if err := json.Unmarshal(text, &l.content); err != nil {
			return fmt.Errorf("%s: %w: remove its folder to fetch anew", path, err)
		}
	}
	l.content.Pieces = slices.DeleteFunc(l.content.Pieces, func(p fetched) bool {
		return p.Block != "" && !exists(filepath.Join(l.dir, p.Block, "meta.json"))
	})
	named := map[string]bool{}
	for _, p := range l.content.Pieces {
		named[p.Block] = true
	}
	stray, err := filepath.Glob(filepath.Join(l.dir, "piece-*"))
	for _, block := range append(stray, blockDirs(l.dir)...) {
		if !named[filepath.Base(block)] {
			err = errors.Join(err, os.RemoveAll(block))
		}
	}
	return err
}

// missing is what of s the pieces leave out, oldest first.
func (l *ledger) missing(s span) []span {
	pieces := slices.Clone(l.content.Pieces)
	slices.SortFunc(pieces, func(a, b fetched) int { return int(min(max(a.Mint-b.Mint, -1), 1)) })
	var gaps []span
	at := s.mint
	for _, p := range pieces {
		if p.Maxt < at {
			continue
		}
		if p.Mint > s.maxt {
			break
		}
		if p.Mint > at {
			gaps = append(gaps, span{at, p.Mint - 1})
		}
		at = p.Maxt + 1
	}
	if at <= s.maxt {
		gaps = append(gaps, span{at, s.maxt})
	}
	return gaps
}

// add takes note of a piece. One that has not settled is not remembered beyond this history.
func (l *ledger) add(p fetched, settled bool) error {
	if !settled {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.content.Pieces = append(l.content.Pieces, p)
	text, err := json.MarshalIndent(l.content, "", " ")
	if err != nil {
		return err
	}
	path := filepath.Join(l.dir, ledgerName)
	if err := os.WriteFile(path+".tmp", text, 0o666); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}
