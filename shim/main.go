// tesk-shim is the first process of an executor's container: it waits for the executor's turn, runs its program, keeps
// its streams, and writes down how it ended. The protocol is on the page docs/shim.md.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
)

// protocol is the version of what stands in the control folder.
const protocol = 1

// version is the release that this program belongs to, set by the linker.
var version = "development"

// unkept is the exit code that says: the protocol could not be kept, nothing was run. Also docker's own.
const unkept = 125

const usage = `usage:
  tesk-shim run [--control FOLDER] [--job FILE]   wait for the turn, run the program of the job
  tesk-shim prepare [--install FOLDER] [FILE...]  copy this program to a folder, make empty files
  tesk-shim version
`

func init() {
	// The signal that a parent's death sends follows the thread that started the child: it must be one that stays.
	runtime.LockOSThread()
	// An image may set GOMAXPROCS, GOGC and the like for a program of its own; they are not meant for us.
	runtime.GOMAXPROCS(2)
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(1 << 62)
}

func main() {
	if len(os.Args) < 2 {
		fail("%s", usage)
	}
	switch os.Args[1] {
	case "run":
		options, rest := flags(os.Args[2:], map[string]string{"--control": "/.tesk/run", "--job": "/.tesk/job/job"})
		if len(rest) > 0 {
			fail("%s", usage)
		}
		folder, err := filepath.Abs(options["--control"]) // the program's working directory becomes ours
		if err != nil {
			fail("%v\n", err)
		}
		os.Exit(run(control(folder), options["--job"]))
	case "prepare":
		options, files := flags(os.Args[2:], map[string]string{"--install": ""})
		if err := prepare(options["--install"], files); err != nil {
			fail("%v\n", err)
		}
	case "version":
		fmt.Printf("tesk-shim %s, protocol %d\n", version, protocol)
	default:
		fail("%s", usage)
	}
}

// flags reads "--name value" from the front of arguments; what follows is the rest.
func flags(arguments []string, values map[string]string) (map[string]string, []string) {
	for len(arguments) > 0 {
		if _, known := values[arguments[0]]; !known {
			break
		}
		if len(arguments) < 2 {
			fail("%s", usage)
		}
		values[arguments[0]] = arguments[1]
		arguments = arguments[2:]
	}
	return values, arguments
}

// say prints a sentence for a person who reads the container's log.
func say(format string, values ...any) {
	fmt.Fprintf(os.Stderr, "tesk-shim: "+format+"\n", values...)
}

func fail(format string, values ...any) {
	fmt.Fprintf(os.Stderr, "tesk-shim: "+format, values...)
	os.Exit(unkept)
}
