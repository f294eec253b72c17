// Command shophistory writes the month that fixtures makes of the shop: blocks for slowburn backtest --history, and
// incidents.csv beside them. The same seed gives the same samples.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/slowburn/slowburn/backtest"
	"github.com/slowburn/slowburn/fixtures"
	"github.com/slowburn/slowburn/tsdb"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "shophistory:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	out := flag.String("out", "shophistory", "directory to make: blocks in data, and incidents.csv")
	days := flag.Int("days", 30, "how many days, 1 to 400")
	seed := flag.Uint64("seed", 1, "another seed makes another month")
	flag.Parse()
	if *days < 1 || *days > 400 {
		return fmt.Errorf("-days %d is outside 1 to 400", *days)
	}
	data := filepath.Join(*out, "data")
	if _, err := os.Stat(data); err == nil {
		return fmt.Errorf("%s is there already: remove it, or name another -out", data)
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	month := fixtures.ShopMonth(*seed, *days)
	var series []backtest.Samples
	for _, s := range month.Series {
		series = append(series, backtest.Samples{Labels: s.Labels, Times: s.Times, Values: s.Values})
	}
	if err := tsdb.Import(ctx, backtest.NewMemory(series), month.Start.UnixMilli(), month.End.UnixMilli(), data, nil); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(*out, "incidents.csv"), month.CSV(), 0o644)
}
