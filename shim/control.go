package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// control is this executor's own folder on the control volume. The program writes to it too if it likes, with the rights
// that we have as well, so what it breaks here is its own result and nobody else's.
type control string

func (c control) path(name string) string { return filepath.Join(string(c), name) }

func (c control) has(name string) bool {
	_, err := os.Lstat(c.path(name))
	return err == nil
}

// lock is held to our end, and by nobody we start. The kernel frees it however we end.
func (c control) lock() error {
	fd, err := syscall.Open(c.path("lock"), syscall.O_RDWR|syscall.O_CREAT|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o666)
	if err != nil {
		return fmt.Errorf("%s: %w", c.path("lock"), err)
	}
	for {
		err = syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errors.New("this executor is run by another shim")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.path("lock"), err)
	}
	if c.has("begun") || c.has("status.json") {
		return errors.New("this executor has run before, and runs once")
	}
	return nil
}

// checkIn says that the image is there and we wait.
func (c control) checkIn(told *job) error {
	return c.put("here", struct {
		Tesk  string `json:"tesk"`
		Pod   string `json:"pod"`
		Index int    `json:"index"`
	}{"here/1", told.Pod, told.Index})
}

// begin leaves the word that the program may have run, and keeps room for the status, should the program fill the disk.
func (c control) begin() error {
	if err := os.WriteFile(c.path(parts("status.json")), make([]byte, 4096), 0o666); err != nil {
		return err
	}
	file, err := os.OpenFile(c.path("begun"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	return file.Close()
}

// status is how the executor ended: ShimStatus in src/tesk/pod.py.
type status struct {
	Tesk     string  `json:"tesk"`
	Pod      string  `json:"pod"`
	Index    int     `json:"index"`
	ExitCode *int    `json:"exit_code,omitempty"`
	Signal   int     `json:"signal,omitempty"`
	Started  float64 `json:"started,omitempty"`
	Ended    float64 `json:"ended"`
	Skipped  bool    `json:"skipped,omitempty"`
	Told     bool    `json:"told,omitempty"`
	Error    string  `json:"error,omitempty"`
	Stdout   int64   `json:"stdout_bytes,omitempty"`
	Stderr   int64   `json:"stderr_bytes,omitempty"`
}

// end writes the status.
func (c control) end(told *job, ended status) error {
	ended.Tesk, ended.Pod, ended.Index = "status/1", told.Pod, told.Index
	if ended.Ended == 0 {
		ended.Ended = now()
	}
	return c.put("status.json", ended)
}

// put writes a file in one rename. What a program planted in its place is taken away, and never written through.
func (c control) put(name string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	path, written := c.path(name), c.path(parts(name))
	os.RemoveAll(written)
	file, err := os.OpenFile(written, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = file.Write(append(text, '\n'))
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	if err = os.Rename(written, path); err != nil {
		os.RemoveAll(path)
		err = os.Rename(written, path)
	}
	return err
}

// parts is the name of a file that is not whole yet.
func parts(name string) string { return "." + name }

func now() float64 { return float64(time.Now().UnixNano()/1000) / 1e6 }
