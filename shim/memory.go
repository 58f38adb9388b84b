package main

import (
	"os"
	"strconv"
	"strings"
)

// outOfMemory counts the processes of our control group that the kernel killed for want of memory; 0 where it does not tell.
func outOfMemory() int {
	own, _ := os.ReadFile("/proc/self/cgroup")
	for _, path := range memoryFiles(string(own)) {
		if text, err := os.ReadFile(path); err == nil {
			if kills, told := killsIn(string(text)); told {
				return kills
			}
		}
	}
	return 0
}

// memoryFiles are the places where the count may stand, the likeliest first. A container sees its own group as the root of what
// is mounted, on a host it is below it.
func memoryFiles(own string) []string {
	var files []string
	for _, line := range strings.Split(own, "\n") {
		parts := strings.SplitN(line, ":", 3)
		if len(parts) < 3 {
			continue
		}
		switch parts[1] {
		case "":
			files = append(files, "/sys/fs/cgroup"+parts[2]+"/memory.events")
		case "memory":
			files = append(files, "/sys/fs/cgroup/memory"+parts[2]+"/memory.oom_control")
		}
	}
	return append(files, "/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
}

func killsIn(text string) (int, bool) {
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "oom_kill ") {
			kills, err := strconv.Atoi(strings.TrimPrefix(line, "oom_kill "))
			return kills, err == nil
		}
	}
	return 0, false
}
