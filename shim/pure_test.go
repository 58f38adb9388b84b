package main

import (
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"syscall"
	"testing"
)

func TestTheTailIsTheLastBytesHoweverTheyCome(t *testing.T) {
	for bytes := int64(1); bytes < 9; bytes++ {
		for size := 1; size < 20; size++ {
			folder := control(t.TempDir())
			kept, err := newTail(folder, "stdout", bytes)
			if err != nil {
				t.Fatal(err)
			}
			var all []byte
			for i := 0; i < 12; i++ {
				piece := make([]byte, (i*size)%(size+3))
				for j := range piece {
					piece[j] = byte('a' + (len(all)+j)%26)
				}
				kept.write(piece)
				all = append(all, piece...)
				if got, want := read(t, folder, bytes), last(all, bytes); got != want {
					t.Fatalf("of %q the last %d are %q, not %q", all, bytes, got, want)
				}
			}
		}
	}
}

// read is what docs/shim.md tells readers to do.
func read(t *testing.T, folder control, bytes int64) string {
	var files [2]string
	for i, name := range []string{"stdout.0", "stdout.1"} {
		text, err := os.ReadFile(folder.path(name))
		if err != nil {
			t.Fatal(err)
		}
		files[i] = string(text)
	}
	full := func(i int) bool { return int64(len(files[i])) == bytes }
	if full(0) && full(1) {
		t.Fatalf("both are full: %q", files)
	}
	if full(1) {
		return last([]byte(files[1]+files[0]), bytes)
	}
	return last([]byte(files[0]+files[1]), bytes)
}

func last(all []byte, bytes int64) string {
	if over := int64(len(all)) - bytes; over > 0 {
		all = all[over:]
	}
	return string(all)
}

func TestTheTasksVariablesAreTheLastWord(t *testing.T) {
	given := []string{"PATH=/image", "LANG=C", "A=1", "A=2", "KUBERNETES_PORT=1", "HOME=/root", "nonsense", "PWD=/"}
	got := environment(given, &job{Env: map[string]string{"HOME": "/task", "B": "x=y"}, Workdir: "/work"})
	sort.Strings(got)
	want := []string{"A=2", "B=x=y", "HOME=/task", "LANG=C", "PATH=/image", "PWD=/work"}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%q", got)
	}
	if got := environment(nil, &job{}); !reflect.DeepEqual(got, []string{"PATH=" + defaultPath, "LANG=C.UTF-8"}) {
		t.Fatalf("%q", got)
	}
}

func TestAProgramIsLookedForInItsOwnPath(t *testing.T) {
	for name, want := range map[string][]string{
		"x":   {"/a/x", "./x", "/b/x"},
		"./x": {"./x"},
		"/x":  {"/x"},
	} {
		if got := places(name, []string{"PATH=/a::/b"}); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %q", name, got)
		}
	}
}

func TestKillsForWantOfMemoryAreCountedInEitherVersion(t *testing.T) {
	for text, want := range map[string]int{
		"low 0\nhigh 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 1\n": 2,
		"oom_kill_disable 0\nunder_oom 0\noom_kill 4\n":               4,
	} {
		if got, told := killsIn(text); got != want || !told {
			t.Fatalf("%d %v", got, told)
		}
	}
	if _, told := killsIn("oom_kill_disable 0\nunder_oom 0\n"); told {
		t.Fatal("an old kernel does not tell")
	}
	got := memoryFiles("5:cpu,cpuacct:/a\n4:memory:/a/b\n0::/c\n")
	want := []string{
		"/sys/fs/cgroup/memory/a/b/memory.oom_control", "/sys/fs/cgroup/c/memory.events",
		"/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control",
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%q", got)
	}
}

func TestAFileIsPutWhateverLiesInItsPlace(t *testing.T) {
	folder := control(t.TempDir())
	outside := filepath.Join(t.TempDir(), "outside")
	for name, plant := range map[string]func(string) error{
		"link":   func(path string) error { return os.Symlink(outside, path) },
		"folder": func(path string) error { return os.MkdirAll(path+"/x", 0o777) },
	} {
		for _, path := range []string{folder.path(name), folder.path("." + name)} {
			if err := plant(path); err != nil {
				t.Fatal(err)
			}
		}
		if err := folder.put(name, 1); err != nil {
			t.Fatal(err)
		}
		if text, _ := os.ReadFile(folder.path(name)); string(text) != "1\n" {
			t.Fatalf("%s: %q", name, text)
		}
	}
	if _, err := os.Lstat(outside); err == nil {
		t.Fatal("a link was followed")
	}
}

func TestAPipeThatLiesWhereAStreamGoesIsRefusedAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "planted")
	if err := syscall.Mkfifo(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := openOutput("stdout", path); err == nil || !strings.HasSuffix(err.Error(), "is no regular file") {
		t.Fatalf("nobody reads the pipe: %v", err)
	}
	if _, err := openInput(path); err == nil || !strings.HasSuffix(err.Error(), "is no regular file") {
		t.Fatalf("stdin: %v", err)
	}
	reader, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(reader)
	if _, err := openOutput("stdout", path); err == nil || !strings.HasSuffix(err.Error(), "is no regular file") {
		t.Fatalf("somebody reads the pipe: %v", err)
	}
	null, err := openInput("")
	if err != nil {
		t.Fatal(err)
	}
	_ = syscall.Close(null)
}
