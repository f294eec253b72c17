package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"strings"
	"time"
)

// Bounds on a revision that is read: a monorepo's sources pass, a history of binaries does not.
const (
	maxRevision      = 2 << 30
	maxRevisionFiles = 500_000
	maxRevisionFile  = 64 << 20
	gitPatience      = 2 * time.Minute
)

// commitOf resolves a revision in the repository that holds dir.
func commitOf(ctx context.Context, dir, revision string) (string, error) {
	if _, err := exec.LookPath("git"); err != nil {
		return "", errors.New("--base needs the program git")
	}
	if _, err := git(ctx, dir, "rev-parse", "--show-toplevel"); err != nil {
		return "", fmt.Errorf("--base: %s lies in no git repository: %w", dir, err)
	}
	commit, err := git(ctx, dir, "rev-parse", "--verify", "--quiet", "--end-of-options", revision+"^{commit}")
	if err != nil {
		return "", fmt.Errorf("--base %q is no revision of the repository that holds %s: fetch it first, as a shallow clone has only one", revision, dir)
	}
	return commit, nil
}

// git runs a command that reads the repository and returns its output.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd, said := gitCommand(ctx, dir, args...)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], firstLine(err, said))
	}
	return strings.TrimSpace(string(out)), nil
}

func gitCommand(ctx context.Context, dir string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir, "-c", "core.fsmonitor=false"}, args...)...) //nolint:gosec // the program is fixed, and a revision follows --end-of-options
	cmd.Env = append(os.Environ(), "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	said := &bytes.Buffer{}
	cmd.Stderr = said
	return cmd, said
}

// firstLine puts the first line of what git said in place of its exit status.
func firstLine(err error, said *bytes.Buffer) error {
	line, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
	if line == "" {
		return err
	}
	return errors.New(strings.TrimPrefix(line, "fatal: "))
}

// readRevision writes dir as it is in a commit into the directory to. The checkout is not touched.
func readRevision(ctx context.Context, dir, commit, to string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, gitPatience)
	defer cancel()
	cmd, said := gitCommand(ctx, dir, "archive", "--format=tar", commit)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("git archive: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("git archive: %w", err)
	}
	unpacked := unpack(pipe, to)
	if unpacked != nil {
		cancel() // git would wait for its output to be read
	}
	ended := cmd.Wait()
	switch {
	case ended != nil && said.Len() > 0:
		return fmt.Errorf("read %s at %s: %w", dir, commit, firstLine(ended, said))
	case unpacked != nil:
		return fmt.Errorf("read %s at %s: %w", dir, commit, unpacked)
	case ended != nil:
		return fmt.Errorf("read %s at %s: %w", dir, commit, ended)
	}
	return nil
}

// unpack writes an archive's files, folders and links. Nothing is written outside of to, whatever the names say.
func unpack(r io.Reader, to string) (err error) {
	root, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	archive := tar.NewReader(io.LimitReader(r, maxRevision))
	for n := 0; ; n++ {
		head, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read archive: %w", err)
		case n >= maxRevisionFiles:
			return fmt.Errorf("more than %d files", maxRevisionFiles)
		}
		if err := unpackOne(root, archive, head); err != nil {
			return fmt.Errorf("write %s: %w", head.Name, err)
		}
	}
}

func unpackOne(root *os.Root, r io.Reader, head *tar.Header) (err error) {
	name := path.Clean(head.Name)
	if !fs.ValidPath(name) {
		return errors.New("the name leaves the directory")
	}
	if parent := path.Dir(name); parent != "." {
		if err := root.MkdirAll(parent, 0o700); err != nil {
			return err
		}
	}
	switch head.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o700)
	case tar.TypeSymlink:
		return root.Symlink(head.Linkname, name)
	case tar.TypeReg:
	default:
		return nil // a comment of git's
	}
	if head.Size > maxRevisionFile {
		return nil // no source, no rule file: what reads them has a smaller bound
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.CopyN(f, r, head.Size)
	return err
}
