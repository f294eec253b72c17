package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/slowburn/slowburn/tsdb"
)

// openHistory opens what --history names, by what it is.
func openHistory(ctx context.Context, path string) (*tsdb.History, error) {
	if strings.HasPrefix(path, "http://") || strings.HasPrefix(path, "https://") {
		return nil, fmt.Errorf("--history %s: reading from a running server is not built yet: give a directory of blocks or an OpenMetrics file", path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("--history: %w", err)
	}
	if info.IsDir() {
		return tsdb.OpenHistory(path, tsdb.HistoryOptions{})
	}
	return tsdb.ReadOpenMetrics(ctx, path, tsdb.HistoryOptions{})
}
