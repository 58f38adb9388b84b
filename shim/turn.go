package main

import (
	"io"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	// Some file systems (network ones, those of virtual machines) tell nobody of changes made elsewhere.
	lookWatched = 5 * time.Second
	// Users have 128 inotify instances on a node by default, so some shims may get none.
	lookUnwatched = time.Second
)

// waitForTurn returns the word that the stager wrote. It costs nothing while it waits.
func (c control) waitForTurn() (string, error) {
	changes, period := watch(string(c)), lookWatched
	for {
		word, err := readTurn(c.path("turn"))
		if err == nil {
			return word, nil
		}
		if !os.IsNotExist(err) {
			return "", err
		}
		if changes == nil {
			period = lookUnwatched
		}
		timer := time.NewTimer(period)
		select {
		case _, going := <-changes:
			if !going {
				changes = nil
			}
		case <-timer.C:
		}
		timer.Stop()
	}
}

func readTurn(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, 64))
	return strings.TrimSpace(string(text)), err
}

// watch tells of files that come to stand in a folder; nil where that cannot be had.
func watch(folder string) <-chan struct{} {
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil {
		return nil
	}
	events := os.NewFile(uintptr(fd), "inotify")
	if _, err := syscall.InotifyAddWatch(fd, folder, syscall.IN_MOVED_TO|syscall.IN_CLOSE_WRITE); err != nil {
		events.Close()
		return nil
	}
	changes := make(chan struct{}, 1)
	go func() {
		defer close(changes)
		defer events.Close()
		buffer := make([]byte, 4096)
		for {
			if _, err := events.Read(buffer); err != nil {
				return
			}
			select {
			case changes <- struct{}{}:
			default: // one look is due already
			}
		}
	}()
	return changes
}
