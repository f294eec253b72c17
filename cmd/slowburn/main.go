// Command slowburn reads the SLOs written in TypeScript services, turns them into burn-rate rules, proves
// those rules and watches the services by them. It only wires packages together: each subcommand has a file.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is stamped by the linker.
var version = "dev"

// Exit statuses, the same for all commands.
const (
	exitOK       = 0
	exitFindings = 1 // what was asked for was done, and the answer is no
	exitFailed   = 2 // it could not be done
)

func main() {
	os.Exit(realMain())
}

func realMain() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
}

// errFindings ends a command whose findings have been printed already.
var errFindings = errors.New("findings at or above --fail-on")

// execute runs one command line and gives its exit status.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errFindings):
		return exitFindings
	default:
		fmt.Fprintf(stderr, "slowburn: %v\n", err)
		return exitFailed
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "slowburn",
		Short: "SLOs in TypeScript services: rules, proof, alerts",
		Long: `slowburn reads the SLOs written in TypeScript services, turns them into burn-rate rules, proves those
rules against history before they page anyone, and watches the services itself: it scrapes, stores,
evaluates and delivers alerts to Alertmanager.

What flags say may also stand in slowburn.yaml in the directory; flags win.
Exit status: 0 fine, 1 findings at or above --fail-on, 2 could not run.`,
		Example: `  slowburn demo                      # the whole story in two minutes, nothing else needed
  slowburn scan services             # which SLOs are there, and where
  slowburn generate > slo.rules.yml  # what they become`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(newScan(), newGenerate(), newVerify(), newBacktest(), newServe(), newImport(), newDemo())
	root.PersistentFlags().String("log-level", "info", "how much to log on standard error: debug, info, warn, error")
	return root
}
