package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// As much as a pipe of ours holds, where the kernel lets us have it so large.
	pipeBytes = 256 << 10
	// How long a process that could not be killed may hold a pipe after the program's end.
	drainPatience = 5 * time.Second
	setPipeSize   = 1031 // F_SETPIPE_SZ, which package syscall lacks
)

var errNoFile = errors.New("is no regular file")

// stream is stdout or stderr of the program: a pipe whose other end goes to the task's file, the tail and our own stream.
type stream struct {
	name string
	from *os.File // nil where the other stream's pipe is this one's as well
	file *os.File // the task's own; nil where it asked for none
	tail *tail
	own  *os.File

	bytes  int64 // how much came; ours to read when copy has returned
	broken error // why the task's file is not whole; ours to read when copy has returned
}

// openInput opens what the program reads.
func openInput(path string) (int, error) {
	if path == "" {
		path = os.DevNull
	}
	fd, err := openAtOnce(path, syscall.O_RDONLY)
	if err != nil {
		return -1, fmt.Errorf("stdin %s: %w", path, err)
	}
	return fd, nil
}

// openAtOnce opens a file, or a device such as /dev/null, and waits for nobody: an executor before may have left a pipe there,
// and who opens one waits for its other end.
func openAtOnce(path string, flags int) (int, error) {
	fd, err := -1, error(syscall.EINTR)
	for errors.Is(err, syscall.EINTR) {
		fd, err = syscall.Open(path, flags|syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0o666)
	}
	if errors.Is(err, syscall.ENXIO) {
		return -1, errNoFile // a pipe that nobody reads, or a socket
	}
	if err != nil {
		return -1, err
	}
	var found syscall.Stat_t
	err = syscall.Fstat(fd, &found)
	if kind := found.Mode & syscall.S_IFMT; err == nil && kind != syscall.S_IFREG && kind != syscall.S_IFCHR {
		err = errNoFile
	}
	if err == nil {
		err = syscall.SetNonblock(fd, false)
	}
	if err != nil {
		_ = syscall.Close(fd)
		return -1, err
	}
	return fd, nil
}

// openOutput makes the file that a stream of the program is kept in, and its folders.
func openOutput(name, path string) (*os.File, error) {
	if path == "" {
		return nil, nil
	}
	err := os.MkdirAll(filepath.Dir(path), 0o777)
	if err == nil {
		var fd int
		if fd, err = openAtOnce(path, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_TRUNC); err == nil {
			return os.NewFile(uintptr(fd), path), nil
		}
	}
	return nil, fmt.Errorf("%s %s: %w", name, path, reason(err))
}

// pipe makes the pipe of a stream and returns the end that the program writes to.
func (s *stream) pipe() (int, error) {
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
		return -1, err
	}
	// Only a wish: users have a bound on the memory of all their pipes.
	_, _, _ = syscall.Syscall(syscall.SYS_FCNTL, uintptr(ends[0]), setPipeSize, pipeBytes)
	// Our end alone does not block, so that a deadline can end a read; the program's is as everybody expects it.
	if err := syscall.SetNonblock(ends[0], true); err != nil {
		return -1, err
	}
	s.from = os.NewFile(uintptr(ends[0]), s.name)
	return ends[1], nil
}

// dup returns another descriptor of the same end.
func dup(fd int) (int, error) {
	again, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(again), nil
}

// copy hands on all that comes, until every writer is gone. What fails on the way out never stops the program.
func (s *stream) copy() {
	if s.from == nil {
		return // it has no pipe of its own
	}
	buffer := make([]byte, pipeBytes)
	own := s.own
	for {
		n, err := s.from.Read(buffer)
		s.bytes += int64(n)
		if piece := buffer[:n]; n > 0 {
			if s.file != nil && s.broken == nil {
				if _, err := s.file.Write(piece); err != nil {
					s.broken = err
				}
			}
			s.tail.write(piece)
			if own != nil {
				if _, err := own.Write(piece); err != nil {
					own = nil
				}
			}
		}
		if err != nil {
			if err != io.EOF && !errors.Is(err, os.ErrDeadlineExceeded) {
				s.broken = err
			}
			return
		}
	}
}

// close ends the task's file; some file systems say only here that they had no room.
func (s *stream) close() {
	if s.file == nil {
		return
	}
	if err := s.file.Close(); err != nil && s.broken == nil && !errors.Is(err, os.ErrClosed) {
		s.broken = err
	}
}

// reason is an error without the path and the call that Go puts before it.
func reason(err error) error {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number
	}
	return err
}

// tail keeps the last bytes of a stream in a pair of files, so that they survive us: the one that is full is the older,
// the other one goes on from it. Where neither is full one of them is empty.
type tail struct {
	files   [2]*os.File
	current int
	written int64 // in the current file
	bytes   int64
}

// newTail makes both files, before the program can plant something in their place.
func newTail(c control, name string, bytes int64) (*tail, error) {
	t := &tail{bytes: bytes}
	if bytes <= 0 {
		return t, nil
	}
	for i := range t.files {
		path := c.path(fmt.Sprintf("%s.%d", name, i))
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o666)
		if err != nil {
			return nil, err
		}
		t.files[i] = file
	}
	return t, nil
}

// write never fails: a tail that cannot be kept is shorter.
func (t *tail) write(piece []byte) {
	if t.bytes <= 0 {
		return
	}
	if over := int64(len(piece)) - t.bytes; over > 0 {
		piece = piece[over:]
	}
	for len(piece) > 0 {
		part := piece
		if room := t.bytes - t.written; int64(len(part)) >= room {
			if room > 1 {
				// A kill may cut a write off anywhere, so the older one stays until all but a byte is there.
				part = part[:room-1]
			} else {
				part = part[:1]
				// Before this one is full, so that never both are.
				_ = t.files[1-t.current].Truncate(0)
			}
		}
		_, _ = t.files[t.current].WriteAt(part, t.written)
		t.written += int64(len(part))
		piece = piece[len(part):]
		if t.written == t.bytes {
			t.current, t.written = 1-t.current, 0
		}
	}
}
