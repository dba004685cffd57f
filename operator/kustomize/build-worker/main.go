// The build worker: kustomize's own code behind a confined, recording file system (issue #5).
//
// One request a line on standard input, {"root", "path", "overlay"}; the answer is a line {"object": …} for each object
// in kustomize's order, then {"inputs": …}, or {"error": {"message", "pathNotFound"}} whatever came before.
// The one argument is the limit of the process's memory in MiB; standard error is for people.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"sigs.k8s.io/kustomize/kyaml/openapi"
)

type request struct {
	Root, Path string
	Overlay    overlay
}

type failure struct {
	Message      string `json:"message"`
	PathNotFound bool   `json:"pathNotFound,omitempty"`
}

func main() {
	limit, err := strconv.ParseUint(os.Args[1], 10, 32)
	if err == nil { // the kernel refuses more, and Go's collector works harder before that
		err = syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: limit << 20, Max: limit << 20})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "memory limit:", err)
		os.Exit(2)
	}
	debug.SetMemoryLimit(int64(limit << 20 / 10 * 8))
	os.Clearenv() // no PATH: kustomize finds no git to clone with
	answers := bufio.NewWriterSize(os.Stdout, 1<<16)
	os.Stdout = os.Stderr // whatever a library prints is no answer
	schema := openapi.GetSchemaVersion()
	requests := json.NewDecoder(os.Stdin)
	for {
		var r request
		if requests.Decode(&r) != nil {
			return
		}
		inputs, failed := answer(r, answers)
		if failed != nil {
			failed.Message = strings.ReplaceAll(strings.ReplaceAll(failed.Message, base+"/", ""), base, ".")
		}
		line, _ := json.Marshal(map[string]any{"inputs": inputs, "error": failed})
		answers.Write(append(line, '\n'))
		if answers.Flush() != nil {
			return
		}
		if failed != nil || openapi.GetSchemaVersion() != schema {
			openapi.ResetOpenAPI() // a schema that one build brings along would serve the next one too
		}
	}
}

func answer(r request, answers *bufio.Writer) (inputs *closure, failed *failure) {
	defer func() {
		if problem := recover(); problem != nil {
			fmt.Fprintf(os.Stderr, "panic: %v\n%s", problem, debug.Stack())
			failed = &failure{Message: fmt.Sprintf("kustomize panicked: %v", problem)}
		}
	}()
	root, err := os.OpenRoot(r.Root)
	if err != nil {
		return nil, &failure{Message: err.Error()}
	}
	defer root.Close()
	files := &confined{root: root, overlay: map[string][]byte{}, directories: map[string]bool{},
		inputs: closure{map[string]string{}, map[string]string{}, map[string]bool{}}}
	http.DefaultTransport = files
	directory := path.Join(base, path.Join("/", r.Path))
	if _, info, err := files.look(directory); err != nil {
		return nil, &failure{Message: "kustomization path not found: " + err.Error(), PathNotFound: true}
	} else if !info.IsDir() {
		return nil, &failure{Message: "kustomization path is not a directory: " + directory, PathNotFound: true}
	}
	objects, err := files.build(directory, r.Overlay)
	for i := 0; err == nil && i < len(objects); i++ {
		var object []byte
		if object, err = objects[i].MarshalJSON(); err == nil {
			fmt.Fprintf(answers, "{\"object\":%s}\n", object)
		} else {
			err = fmt.Errorf("%s: %w", objects[i].CurId(), err)
		}
	}
	if files.refused != nil {
		err = files.refused
	}
	if err != nil {
		return nil, &failure{Message: err.Error()}
	}
	return &files.inputs, nil
}
