package topology

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxFile bounds every file this package reads.
const maxFile = 1 << 20

// errOutside is the answer to a path that leaves the scanned directory, by name or by symlink.
var errOutside = errors.New("leaves the scanned directory")

// root reads files inside one directory and nothing else.
type root struct {
	dir  string // absolute, as the user named it
	real string // dir with symlinks resolved
}

func openRoot(dir string) (root, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return root{}, err
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return root{}, err
	}
	info, err := os.Stat(real)
	if err != nil {
		return root{}, err
	}
	if !info.IsDir() {
		return root{}, errors.New("is not a directory: name the directory that holds the Compose file")
	}
	return root{dir: abs, real: real}, nil
}

// abs makes a path of ours absolute.
func (r root) abs(name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(r.dir, filepath.FromSlash(name))
}

// rel is the path under the directory, with slashes; ok is false for one that is lexically outside.
func (r root) rel(name string) (string, bool) {
	rel, err := filepath.Rel(r.dir, r.abs(name))
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return "", false
	}
	return filepath.ToSlash(rel), true
}

// locate checks that name, once symlinks are followed, is inside, and returns its relative path. The lexical
// check comes first so that nothing outside is even looked at. The name is returned with an error too.
func (r root) locate(name string) (string, fs.FileInfo, error) {
	rel, ok := r.rel(name)
	if !ok {
		return filepath.ToSlash(name), nil, errOutside
	}
	real, err := filepath.EvalSymlinks(r.abs(rel))
	if err != nil {
		return rel, nil, plain(err)
	}
	if inside, err := filepath.Rel(r.real, real); err != nil || inside == ".." || strings.HasPrefix(inside, ".."+string(filepath.Separator)) {
		return rel, nil, fmt.Errorf("is a symlink that %w", errOutside)
	}
	info, err := os.Stat(real)
	if err != nil {
		return rel, nil, plain(err)
	}
	return rel, info, nil
}

// read returns the bytes of a regular file of bounded size.
func (r root) read(name string) ([]byte, error) {
	rel, info, err := r.locate(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("is not a regular file (%s)", info.Mode().Type())
	}
	f, err := os.Open(r.abs(rel))
	if err != nil {
		return nil, plain(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, plain(err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("is larger than %d bytes", maxFile)
	}
	return data, nil
}

// directory reports whether name is a directory inside.
func (r root) directory(name string) bool {
	_, info, err := r.locate(name)
	return err == nil && info.IsDir()
}

// plain drops the path from an error, since a finding names it already.
func plain(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
