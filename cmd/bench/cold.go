package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/slowburn/slowburn/evaluator/standard"
)

// contract is what the service of the standard history promises.
const contract = `/**
 * @SLO availability target=99.5%% window=30d service=%[1]s tenantLabel=tenant
 *      errors=http_requests_total{code=~"5.."} total=http_requests_total
 */
export class Service {}
`

// coldStart measures from the start of slowburn to its end, when the verdict is printed.
func (s settings) coldStart(ctx context.Context, f *figures, log io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "slowburn-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, service := range standard.Services() {
		file := filepath.Join(dir, service, "service.ts")
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(file, fmt.Appendf(nil, contract, service), 0o600); err != nil {
			return err
		}
	}
	var times, cpus []float64
	for range s.runs {
		c := exec.CommandContext(ctx, s.slowburn, "backtest", dir, "--policy", "sre", "--history", s.dir, "-o", "json") //nolint:gosec // what the flag names
		var printed counter
		c.Stdout, c.Stderr = &printed, log
		began := time.Now()
		err := c.Run()
		times = append(times, time.Since(began).Seconds())
		if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) { // 1 is a verdict too
			return err
		}
		if printed == 0 {
			return errors.New("no verdict was printed")
		}
		f.ColdStartRSSMB = max(f.ColdStartRSSMB, float64(c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)/1024)
		cpus = append(cpus, (c.ProcessState.UserTime() + c.ProcessState.SystemTime()).Seconds())
		fmt.Fprintf(log, "cold start: %.3fs, %d bytes of verdict\n", times[len(times)-1], printed)
	}
	f.ColdStartS, f.ColdStartCPUS = median(times), median(cpus)
	return nil
}

// counter is a writer that counts.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
