package alerts

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// record is one line of a journal. Exactly one field is set.
type record struct {
	Put   *item           `json:"put,omitempty"`
	Done  *item           `json:"done,omitempty"` // delivered, or not deliverable
	Known map[string]told `json:"known,omitempty"`
}

// journal is an outbox on disk: a file of lines, each with its checksum. A line that is written survives the process;
// sync makes it survive the machine. When the file holds much more than the outbox, it is written anew.
// Its methods must not be called at once.
type journal struct {
	path    string
	file    *os.File // nil after a failure, until rewrite has mended it
	size    int64
	compact int64 // the size at which to write anew
}

const minCompact = 1 << 20

// openJournal reads what path holds and opens it for appending. Lines that cannot be read are left out, and counted;
// the file with them is copied aside. The last line may be cut short: that is how a process dies.
func openJournal(path string) (j *journal, records []record, bad int, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, nil, 0, err
	}
	records, bad, err = readJournal(path)
	if err != nil {
		return nil, nil, 0, err
	}
	if bad > 0 {
		if err := copyAside(path); err != nil {
			return nil, nil, 0, err
		}
	}
	return &journal{path: path}, records, bad, nil
}

func readJournal(path string) (records []record, bad int, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<16)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return records, bad, nil
		}
		if err != nil {
			return nil, 0, err
		}
		rec, ok := decode(line)
		if !ok {
			bad++
			continue
		}
		records = append(records, rec)
	}
}

// encode writes a record as its checksum, a blank, its JSON and a line end.
func encode(r record) ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%08x %s\n", crc32.ChecksumIEEE(text), text), nil
}

func decode(line []byte) (r record, ok bool) {
	sum, text, found := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if !found || err != nil || want != uint64(crc32.ChecksumIEEE(text)) {
		return r, false
	}
	return r, json.Unmarshal(text, &r) == nil
}

// copyAside keeps a damaged file for people to look at.
func copyAside(path string) (err error) {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(path + ".damaged")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

// append writes records. After a failure nothing is appended any more, since a line may be cut short in the middle,
// until rewrite succeeds.
func (j *journal) append(records []record) error {
	if j.file == nil {
		return errors.New("the file must be written anew first")
	}
	var b bytes.Buffer
	for _, r := range records {
		line, err := encode(r)
		if err != nil {
			return err
		}
		b.Write(line)
	}
	n, err := j.file.Write(b.Bytes())
	j.size += int64(n)
	if err != nil {
		return errors.Join(err, j.close())
	}
	return nil
}

func (j *journal) sync() error {
	if j.file == nil {
		return nil
	}
	return j.file.Sync()
}

// full says that it is time for rewrite.
func (j *journal) full() bool { return j.file == nil || j.size > j.compact }

// rewrite replaces the file by one with records only, in one step.
func (j *journal) rewrite(records []record) (err error) {
	temp := j.path + ".tmp"
	f, err := os.Create(temp)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(temp))
		}
	}()
	next := &journal{path: j.path, file: f}
	if len(records) > 0 {
		if err := next.append(records); err != nil {
			return err
		}
	}
	if err := errors.Join(f.Sync(), os.Rename(temp, j.path), syncDir(filepath.Dir(j.path))); err != nil {
		return err
	}
	old := j.file
	j.file, j.size, j.compact = f, next.size, 2*next.size+minCompact
	if old != nil {
		return old.Close()
	}
	return nil
}

// syncDir makes a renaming survive the machine.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}
