package main

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
	"time"

	"github.com/slowburn/slowburn/slo"
	"github.com/slowburn/slowburn/web"
)

// keptDocket is a docket as it stands in the file of verdicts.
type keptDocket struct {
	Service     string        `json:"service"`
	SLO         string        `json:"slo"`
	Fingerprint string        `json:"fingerprint"`
	Judged      time.Time     `json:"judged"`
	Verdicts    []web.Verdict `json:"verdicts"`
}

const maxVerdictFile = 256 << 20

// fingerprint tells an objective from what it was when it was judged. Where it is declared does not matter.
func fingerprint(o slo.Objective) string {
	o.Declared, o.Threshold, o.Description, o.RunbookURL = nil, nil, "", "" // the policy says what the threshold came to
	sum := sha256.Sum256(fmt.Appendf(nil, "%#v", o))
	return hex.EncodeToString(sum[:8])
}

// save writes the verdicts, so that a restart does not send what has been held.
func (j *judge) save() error {
	if j.o.file == "" {
		return nil
	}
	content, err := json.Marshal(j.kept())
	if err != nil {
		return fmt.Errorf("write verdicts: %w", err)
	}
	if err := os.WriteFile(j.o.file+".tmp", content, 0o600); err != nil {
		return fmt.Errorf("write verdicts: %w", err)
	}
	if err := os.Rename(j.o.file+".tmp", j.o.file); err != nil {
		return fmt.Errorf("write verdicts: %w", err)
	}
	return nil
}

func (j *judge) kept() []keptDocket {
	all := j.All()
	j.mu.RLock()
	defer j.mu.RUnlock()
	var kept []keptDocket
	for _, d := range j.objectives {
		k := keptDocket{Service: d.Service, SLO: d.Name, Fingerprint: d.fingerprint, Judged: d.judged}
		for _, v := range all {
			if v.Service == d.Service && v.SLO == d.Name {
				k.Verdicts = append(k.Verdicts, v)
			}
		}
		kept = append(kept, k)
	}
	slices.SortFunc(kept, func(a, b keptDocket) int { return strings.Compare(a.Service+"/"+a.SLO, b.Service+"/"+b.SLO) })
	return kept
}

// load takes over what an earlier process had judged of the same objectives. A file that is absent or can't be
// read is no reason not to start: everything is judged anew.
func (j *judge) load() {
	kept, err := readVerdicts(j.o.file)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		j.o.logger.Warn("Read verdicts; all alerts are judged anew", "file", filepath.Base(j.o.file), "err", err)
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, k := range kept {
		d := j.objectives[[2]string{k.Service, k.SLO}]
		if d == nil || d.fingerprint != k.Fingerprint || !d.judged.IsZero() {
			continue
		}
		d.judged = k.Judged
		for _, v := range k.Verdicts {
			v.Service, v.SLO, v.Pushed = d.Service, d.Name, j.o.push.pushes(v.Verdict)
			d.verdicts[[2]string{v.Tier, v.Tenant}] = v
		}
	}
}

func readVerdicts(file string) (kept []keptDocket, err error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxVerdictFile {
		return nil, fmt.Errorf("not a regular file of at most %d MiB", maxVerdictFile>>20)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return kept, json.Unmarshal(content, &kept)
}
