//go:build unix

package tsdb

import (
	"errors"
	"syscall"
)

// volumeSpace is what an unprivileged process may still use, and the size of the volume.
func volumeSpace(dir string) (free, size uint64, err error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, 0, err
	}
	block := uint64(fs.Bsize)
	return fs.Bavail * block, fs.Blocks * block, nil
}

func isLocked(err error) bool { return errors.Is(err, syscall.EWOULDBLOCK) }
