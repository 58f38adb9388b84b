package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	setChildSubreaper = 36 // PR_SET_CHILD_SUBREAPER
	// How long we wait for processes to be gone that were sent SIGKILL. Those of another user may be out of our reach; the
	// kernel ends them with the container.
	killPatience = 5 * time.Second
)

// processes are the program and all that it left behind.
type processes struct {
	mutex sync.Mutex
	pid   int // of the program; 0 before it runs
	ended bool
	told  bool          // a signal came for it while it ran: whatever it ends with may be that
	first bool          // we are the first process of our namespace, so everybody in it is ours
	gone  chan struct{} // closed when nobody is left
}

func newProcesses() *processes {
	p := &processes{first: os.Getpid() == 1, gone: make(chan struct{})}
	if !p.first {
		// Orphans come to us all the same.
		_, _, _ = syscall.Syscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0)
	}
	return p
}

// listen takes every signal that means something to a program; images may name any as the one that stops them.
// Before the program runs each of them ends us.
func (p *processes) listen() {
	wanted := []os.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTERM, syscall.SIGWINCH,
		syscall.SIGPIPE, // so that a reader of our own streams that went away ends neither us nor the program
	}
	for number := syscall.Signal(35); number <= 64; number++ {
		wanted = append(wanted, number) // real-time ones: systemd's images stop by one
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, wanted...)
	go func() {
		for got := range signals {
			if number := got.(syscall.Signal); number != syscall.SIGPIPE {
				p.forward(number)
			}
		}
	}()
}

func (p *processes) forward(number syscall.Signal) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	switch {
	case p.pid == 0:
		os.Exit(128 + int(number))
	case p.ended:
		return
	}
	p.told = p.told || number != syscall.SIGWINCH
	switch {
	case number == syscall.SIGTERM && p.first:
		_ = syscall.Kill(-1, number)
	case number == syscall.SIGTERM:
		_ = syscall.Kill(-p.pid, number)
	default:
		_ = syscall.Kill(p.pid, number)
	}
}

// wasTold says whether somebody wanted the program to end before it did.
func (p *processes) wasTold() bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.told
}

// start runs a program; a signal that comes meanwhile is the program's. The error says why nothing runs, the code
// is what a shell would have ended with then.
func (p *processes) start(command, environment []string, files []uintptr) (int, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	attributes := &syscall.ProcAttr{Env: environment, Files: files, Sys: &syscall.SysProcAttr{Setsid: true}}
	if !p.first {
		// Else the kernel does it.
		attributes.Sys.Pdeathsig = syscall.SIGKILL
	}
	code, problem := 127, fmt.Errorf("command not found: %s", command[0])
	for _, path := range places(command[0], environment) {
		found, err := os.Stat(path)
		switch {
		case os.IsNotExist(err) || errors.Is(err, syscall.ENOTDIR):
			continue
		case err == nil && found.IsDir():
			err = syscall.EISDIR
		case err == nil:
			var pid int
			if pid, err = syscall.ForkExec(path, command, attributes); err == nil {
				p.pid = pid
				return 0, nil
			}
		}
		if code == 127 {
			code, problem = 126, fmt.Errorf("cannot be executed: %s: %w", path, whyNot(err))
		}
		if !errors.Is(err, syscall.EACCES) && !errors.Is(err, syscall.EISDIR) {
			break // only those are looked over for one further on, as shells do
		}
	}
	return code, problem
}

func whyNot(err error) error {
	switch reason(err) {
	case syscall.ENOENT:
		return errors.New("no such interpreter") // the file itself is there
	case syscall.EINVAL:
		return errors.New("an argument or a variable holds a zero byte")
	case syscall.E2BIG:
		return errors.New("argument list too long: Linux takes 128 KiB an argument")
	}
	return reason(err)
}

// places are the paths that a program's name may stand for.
func places(name string, environment []string) []string {
	if strings.Contains(name, "/") {
		return []string{name}
	}
	path := ""
	for _, variable := range environment {
		if strings.HasPrefix(variable, "PATH=") {
			path = variable[len("PATH="):]
		}
	}
	var found []string
	for _, folder := range strings.Split(path, ":") {
		if folder == "" {
			folder = "."
		}
		found = append(found, folder+"/"+name)
	}
	return found
}

// wait returns how the program ended, and goes on reaping whatever else ends, then and later.
func (p *processes) wait() syscall.WaitStatus {
	result := make(chan syscall.WaitStatus, 1)
	go func() {
		defer close(p.gone)
		for {
			var how syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &how, 0, nil)
			if errors.Is(err, syscall.EINTR) {
				continue
			}
			if err != nil {
				return
			}
			if pid == p.pid {
				p.mutex.Lock()
				p.ended = true
				p.mutex.Unlock()
				result <- how
			}
			if p.ended {
				p.kill() // each time: who dies leaves children to us
			}
		}
	}()
	return <-result
}

// kill ends all that is left, at once.
func (p *processes) kill() {
	if p.first {
		_ = syscall.Kill(-1, syscall.SIGKILL)
		return
	}
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	for _, pid := range children() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// empty waits until nobody is left; false where patience came to an end first.
func (p *processes) empty() bool {
	timer := time.NewTimer(killPatience)
	defer timer.Stop()
	select {
	case <-p.gone:
		return true
	case <-timer.C:
		return false
	}
}

// children are the processes whose parent we are, if /proc tells.
func children() []int {
	var found []int
	us := os.Getpid()
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		var pid, parent int
		if _, err := fmt.Sscan(entry.Name(), &pid); err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if err != nil {
			continue
		}
		// A name in brackets, which may hold anything, then the state, then the parent.
		rest := string(text[strings.LastIndexByte(string(text), ')')+1:])
		var state string
		if _, err := fmt.Sscan(rest, &state, &parent); err == nil && parent == us {
			found = append(found, pid)
		}
	}
	return found
}
