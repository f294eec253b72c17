package contract

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// DefaultMaxFileBytes is how large a source file may be before it is refused.
const DefaultMaxFileBytes = 4 << 20

// Reasons why a file is not read as a source.
var (
	errTooLarge = errors.New("larger than a source file may be")
	errEncoding = errors.New("neither UTF-8 nor UTF-16 with a byte order mark")
)

// openFile opens a regular file of the tree. What is no regular file any more by now is not waited for.
func (t *tree) openFile(name string) (*os.File, int64, error) {
	full := filepath.Join(t.dir, filepath.FromSlash(name))
	info, err := os.Lstat(full)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s: not a regular file", name)
	}
	f, err := os.Open(full)
	return f, info.Size(), err
}

// readPlain reads a small file as it is.
func (t *tree) readPlain(name string) (string, error) {
	f, _, err := t.openFile(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, t.maxBytes+1))
	if int64(len(data)) > t.maxBytes {
		return "", errTooLarge
	}
	return string(data), err
}

// readText reads a file as text, whatever its encoding.
func (t *tree) readText(name string) (string, error) {
	raw, err := t.readPlain(name)
	if err != nil {
		return "", err
	}
	return decode(raw)
}

// decode takes off a byte order mark, reads UTF-16 if the mark says so, and refuses what is no text.
func decode(raw string) (string, error) {
	switch {
	case strings.HasPrefix(raw, "\xef\xbb\xbf"):
		raw = raw[3:]
	case strings.HasPrefix(raw, "\xff\xfe"):
		raw = decodeUTF16(raw[2:], binary.LittleEndian)
	case strings.HasPrefix(raw, "\xfe\xff"):
		raw = decodeUTF16(raw[2:], binary.BigEndian)
	}
	if strings.IndexByte(raw, 0) >= 0 || !utf8.ValidString(raw) {
		return "", errEncoding
	}
	return raw, nil
}

func decodeUTF16(raw string, order binary.ByteOrder) string {
	units := make([]uint16, 0, len(raw)/2)
	for i := 0; i+1 < len(raw); i += 2 {
		units = append(units, order.Uint16([]byte(raw[i:i+2])))
	}
	return string(utf16.Decode(units))
}

// reasonOf is an error without the path that a finding's place already names.
func reasonOf(err error) string {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		return pathError.Err.Error()
	}
	return err.Error()
}

// words are what a file must hold, one of them at least, to be worth parsing.
type words struct {
	anywhere [][]byte // as a part of anything
	whole    [][]byte // as a whole identifier
}

// holds reports whether data has one of the words. Text in UTF-16 is looked at as if every other byte were
// missing.
func (w words) holds(data []byte) bool {
	if len(data) > 1 && (data[0] == 0xff && data[1] == 0xfe || data[0] == 0xfe && data[1] == 0xff) {
		data = bytes.ReplaceAll(data, []byte{0}, nil)
	}
	for _, word := range w.anywhere {
		if bytes.Contains(data, word) {
			return true
		}
	}
	for _, word := range w.whole {
		if containsWord(data, word) {
			return true
		}
	}
	return false
}

func containsWord(data, word []byte) bool {
	for at := 0; ; {
		i := bytes.Index(data[at:], word)
		if i < 0 {
			return false
		}
		i += at
		end := i + len(word)
		if (i == 0 || !isIdentifierByte(data[i-1])) && (end == len(data) || !isIdentifierByte(data[end])) {
			return true
		}
		at = i + 1
	}
}

func isIdentifierByte(b byte) bool {
	return b == '_' || b == '$' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= 0x80
}

// sift reads a file of any size with the buffer and reports whether it has one of the words. What it read is
// returned if the whole file fits.
func (t *tree) sift(name string, w words, buffer []byte) (hit bool, data []byte, size int64, err error) {
	f, size, err := t.openFile(name)
	if err != nil {
		return false, nil, 0, err
	}
	defer f.Close()
	const overlap = 64
	kept := 0
	for {
		n, err := io.ReadFull(f, buffer[kept:])
		chunk := buffer[:kept+n]
		ended := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !ended {
			return false, nil, size, err
		}
		if w.holds(chunk) {
			return true, chunk, size, nil
		}
		if ended {
			return false, nil, size, nil
		}
		kept = copy(buffer, chunk[len(chunk)-overlap:])
	}
}
