package main

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/debug"
)

// mostJob bounds what a job may be unpacked to. A secret holds 1 MiB; arguments compress well.
const mostJob = 64 << 20

// job is what one executor's shim does: ShimJob in src/tesk/pod.py.
type job struct {
	Tesk        string            `json:"tesk"`
	Pod         string            `json:"pod"`
	Index       int               `json:"index"`
	Command     []string          `json:"command"`
	Env         map[string]string `json:"env"`
	Workdir     string            `json:"workdir"`
	WorkdirMade string            `json:"workdir_made"`
	Stdin       string            `json:"stdin"`
	Stdout      string            `json:"stdout"`
	Stderr      string            `json:"stderr"`
	TailBytes   int64             `json:"tail_bytes"`
}

// readJob reads JSON, gzipped or as it is.
func readJob(path string) (*job, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	buffered := bufio.NewReader(file)
	var source io.Reader = buffered
	if magic, _ := buffered.Peek(2); len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		if source, err = gzip.NewReader(buffered); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	told := job{TailBytes: 65536}
	if err := json.NewDecoder(io.LimitReader(source, mostJob)).Decode(&told); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if told.Tesk != "executor/1" {
		return nil, fmt.Errorf("%s: is %q, and this program reads executor/1", path, told.Tesk)
	}
	if len(told.Command) == 0 || told.Command[0] == "" {
		return nil, fmt.Errorf("%s: names no program", path)
	}
	// What decoding took is not needed while we wait, for hours perhaps.
	debug.FreeOSMemory()
	return &told, nil
}
