package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The program of the tests is the shim itself where it is told so: real processes, and the race detector sees them.
func TestMain(m *testing.M) {
	if os.Getenv("SHIM_UNDER_TEST") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

type container struct {
	folder control
	shim   *exec.Cmd
	out    bytes.Buffer
	errs   bytes.Buffer
}

func started(t *testing.T, command ...string) *container {
	folder := t.TempDir()
	c := &container{folder: control(folder)}
	told, _ := json.Marshal(map[string]any{
		"tesk": "executor/1", "pod": "uid", "index": 1, "command": command, "stdout": folder + "/out", "tail_bytes": 100,
	})
	path := filepath.Join(folder, "job")
	if err := os.WriteFile(path, told, 0o666); err != nil {
		t.Fatal(err)
	}
	c.shim = exec.Command(os.Args[0], "run", "--control", folder, "--job", path)
	c.shim.Env = append(os.Environ(), "SHIM_UNDER_TEST=1")
	c.shim.Stdout, c.shim.Stderr = &c.out, &c.errs
	if err := c.shim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.shim.Process.Kill() })
	c.until(t, "here")
	return c
}

func (c *container) until(t *testing.T, name string) {
	for end := time.Now().Add(20 * time.Second); !c.folder.has(name); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s", name)
		}
	}
}

func (c *container) turn(t *testing.T) {
	if err := os.WriteFile(c.folder.path(".turn"), []byte("run\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(c.folder.path(".turn"), c.folder.path("turn")); err != nil {
		t.Fatal(err)
	}
}

func (c *container) ended(t *testing.T) status {
	_ = c.shim.Wait()
	if strings.Contains(c.errs.String(), "DATA RACE") {
		t.Fatal(c.errs.String())
	}
	text, err := os.ReadFile(c.folder.path("status.json"))
	if err != nil {
		t.Fatal(err, c.errs.String())
	}
	var found status
	if err := json.Unmarshal(text, &found); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestBothStreamsAtOnceAreWhole(t *testing.T) {
	c := started(t, "sh", "-c", "seq 1 200000 & seq 1 200000 >&2; wait")
	c.turn(t)
	if found := c.ended(t); *found.ExitCode != 0 || found.Error != "" {
		t.Fatal(found)
	}
	kept, _ := os.ReadFile(c.folder.path("out"))
	if !bytes.Equal(kept, c.out.Bytes()) || !bytes.Equal(kept, c.errs.Bytes()) || !bytes.HasSuffix(kept, []byte("\n200000\n")) {
		t.Fatal(len(kept), c.out.Len(), c.errs.Len())
	}
}

// Signals that come while everything else happens: before the turn, at the start, at the end.
func TestSignalsAtAnyMomentLeaveAStatusOrNone(t *testing.T) {
	var all sync.WaitGroup
	for i := 0; i < 24; i++ {
		c := started(t, "sh", "-c", "(sleep 100 &) ; echo started; exit 5")
		all.Add(1)
		go func(pause time.Duration) {
			defer all.Done()
			time.Sleep(pause)
			_ = c.shim.Process.Signal(syscall.SIGTERM)
		}(time.Duration(i) * 500 * time.Microsecond)
		c.turn(t)
		_ = c.shim.Wait()
		code := c.shim.ProcessState.ExitCode()
		if !c.folder.has("status.json") {
			if code != 143 || c.folder.has("begun") && c.out.Len() > 0 {
				t.Fatal(code, c.errs.String())
			}
			continue
		}
		if found := c.ended(t); *found.ExitCode != code || code != 5 && code != 143 {
			t.Fatal(fmt.Sprint(*found.ExitCode), code, c.errs.String())
		}
	}
	all.Wait()
}
