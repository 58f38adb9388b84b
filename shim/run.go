package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// run keeps the protocol once, from the lock to the status, and returns what to end with.
func run(c control, jobPath string) int {
	ours := newProcesses()
	ours.listen()
	if err := c.lock(); err != nil {
		say("%v", err)
		return unkept
	}
	told, err := readJob(jobPath)
	if err == nil {
		err = c.checkIn(told)
	}
	if err != nil {
		say("%v", err)
		return unkept
	}
	word, err := c.waitForTurn()
	if err != nil {
		say("%v", err)
		return unkept
	}
	var ended status
	code := 0
	switch word {
	case "run":
		ended, code = execute(c, told, ours)
	case "skip":
		ended = status{Skipped: true}
	default:
		ended, code = status{Error: "the turn is neither run nor skip"}, unkept
	}
	if ended.Error != "" {
		say("%s", ended.Error)
	}
	if err := c.end(told, ended); err != nil {
		say("the status cannot be written: %v", err)
	}
	return code
}

// execute runs the program to its end, with nothing of it left behind.
func execute(c control, told *job, ours *processes) (status, int) {
	streams, files, err := connect(c, told)
	if err == nil {
		err = enter(told)
	}
	if err == nil {
		err = c.begin()
	}
	if err != nil {
		return status{Error: err.Error()}, unkept
	}
	killed := outOfMemory()
	environment := environment(os.Environ(), told)
	started := now()
	code, err := ours.start(told.Command, environment, files)
	for _, fd := range files {
		_ = syscall.Close(int(fd))
	}
	if err != nil {
		return status{ExitCode: &code, Started: started, Error: err.Error()}, code
	}
	told.Command, told.Env = nil, nil

	var copying sync.WaitGroup
	for _, s := range streams {
		copying.Add(1)
		go func(s *stream) {
			defer copying.Done()
			s.copy()
		}(s)
	}
	how := ours.wait()
	ended := status{Started: started, Ended: now(), Told: ours.wasTold()}
	if !ours.empty() {
		say("processes of the program could not be ended")
		for _, s := range streams {
			// They may hold the pipes; where all are gone their end comes by itself.
			_ = s.from.SetReadDeadline(time.Now().Add(drainPatience))
		}
	}
	copying.Wait()

	code = how.ExitStatus()
	if how.Signaled() {
		ended.Signal = int(how.Signal())
		code = 128 + ended.Signal
	}
	ended.ExitCode = &code
	ended.Stdout, ended.Stderr = streams[0].bytes, streams[1].bytes
	var problems []string
	if code != 0 && outOfMemory() > killed {
		problems = append(problems, "killed by the kernel's out-of-memory killer")
	}
	for _, s := range streams {
		s.close()
		if s.broken != nil {
			problems = append(problems, s.name+" is not whole: "+reason(s.broken).Error())
		}
	}
	ended.Error = strings.Join(problems, "; ")
	return ended, code
}

// connect opens all that the program reads from and writes to: the streams that we copy, and its three files.
func connect(c control, told *job) ([]*stream, []uintptr, error) {
	input, err := openInput(told.Stdin)
	if err != nil {
		return nil, nil, err
	}
	out := &stream{name: "stdout", own: os.Stdout}
	errs := &stream{name: "stderr", own: os.Stderr}
	if out.file, err = openOutput("stdout", told.Stdout); err != nil {
		return nil, nil, err
	}
	if told.Stderr == told.Stdout {
		errs.file = out.file
	} else if errs.file, err = openOutput("stderr", told.Stderr); err != nil {
		return nil, nil, err
	}
	files := []uintptr{uintptr(input)}
	for _, s := range []*stream{out, errs} {
		if s.tail, err = newTail(c, s.name, told.TailBytes); err != nil {
			return nil, nil, err
		}
		end, err := -1, error(nil)
		if s == errs && told.Stdout != "" && told.Stderr == told.Stdout {
			// One file for both: one pipe as well, as `2>&1` has it, so that it holds what was written in order.
			end, err = dup(int(files[1]))
		} else {
			end, err = s.pipe()
		}
		if err != nil {
			return nil, nil, err
		}
		files = append(files, uintptr(end))
	}
	return []*stream{out, errs}, files, nil
}

// enter goes to the working directory: the image's own, else a link to the one that was made for it, else that one.
func enter(told *job) error {
	if told.Workdir == "" {
		return nil
	}
	err := os.Chdir(told.Workdir)
	if errors.Is(err, os.ErrNotExist) {
		if told.WorkdirMade == "" {
			_ = os.MkdirAll(told.Workdir, 0o777)
		} else {
			_ = os.MkdirAll(filepath.Dir(told.Workdir), 0o777)
			_ = os.Symlink(told.WorkdirMade, told.Workdir)
		}
		if err = os.Chdir(told.Workdir); err != nil && told.WorkdirMade != "" {
			err = os.Chdir(told.WorkdirMade)
		}
	}
	if err != nil {
		return errors.New("working directory " + told.Workdir + ": " + reason(err).Error())
	}
	return nil
}

// environment is the container's, without what Kubernetes put there, and over it the task's.
func environment(given []string, told *job) []string {
	values := map[string]string{}
	var names []string
	set := func(name, value string) {
		if _, there := values[name]; !there {
			names = append(names, name)
		}
		values[name] = value
	}
	set("PATH", defaultPath)
	set("LANG", "C.UTF-8")
	for _, variable := range given {
		if name, value, cut := strings.Cut(variable, "="); cut && !strings.HasPrefix(name, "KUBERNETES_") {
			set(name, value)
		}
	}
	if told.Workdir != "" {
		set("PWD", told.Workdir)
	}
	for name, value := range told.Env {
		set(name, value)
	}
	variables := make([]string, len(names))
	for i, name := range names {
		variables[i] = name + "=" + values[name]
	}
	return variables
}
