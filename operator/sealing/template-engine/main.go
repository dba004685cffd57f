// The template engine: Go's own text/template with Sprig, as Sealed Secrets 0.40.0 restricts it (issue #6).
//
// One request a line on standard input: {"data": {name: base64}, "templates": [[key, text], …]}. Each template has one
// line of answer, in that order: {"value": base64, "generated": bool} or {"failure": text}. A failure never shows data:
// a parse error is about the template's own text, of an execution error no more than the position is told.
// The one argument is the limit of the process's memory in MiB; standard error is for people.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"text/template"
	"time"
	_ "time/tzdata" // zones are those of upstream's image, whatever this machine has
)

// outputLimit of all templates of a request: a Secret holds no more.
const outputLimit = 1 << 20

type request struct {
	Data      map[string][]byte
	Templates [][2]string
}

type answer struct {
	Value     []byte `json:"value,omitempty"`
	Generated bool   `json:"generated,omitempty"`
	Failure   string `json:"failure,omitempty"`
}

var errTooLong = errors.New("the output is longer than a Secret can hold")

// position is how text/template begins an execution error; what follows may quote data.
var position = regexp.MustCompile(`^template: (?s:.+?):\d+:\d+: executing "`)

func main() {
	confine(os.Args[1])
	requests := make(chan request)
	go receive(requests)
	output := bufio.NewWriterSize(os.Stdout, 1<<16)
	os.Stdout = os.Stderr // whatever a library prints is no answer
	answers := json.NewEncoder(output)
	for r := range requests {
		left := outputLimit
		for _, each := range r.Templates {
			answers.Encode(render(each[0], each[1], r.Data, &left))
			output.Flush()
		}
	}
}

// receive ends the process with its input, whatever is being rendered: nobody is left to limit it.
func receive(requests chan<- request) {
	input := json.NewDecoder(bufio.NewReaderSize(os.Stdin, 1<<16))
	for {
		var r request
		if input.Decode(&r) != nil {
			os.Exit(0)
		}
		requests <- r
	}
}

// confine leaves the process no environment, no core dump, no file to write and only so much memory.
func confine(megabytes string) {
	limit, err := strconv.ParseUint(megabytes, 10, 32)
	for resource, value := range map[int]uint64{syscall.RLIMIT_DATA: limit << 20, syscall.RLIMIT_CORE: 0, syscall.RLIMIT_FSIZE: 0} {
		if err == nil {
			err = syscall.Setrlimit(resource, &syscall.Rlimit{Cur: value, Max: value})
		}
	}
	if err != nil {
		panic(err)
	}
	debug.SetMemoryLimit(int64(limit<<20) / 10 * 8)
	debug.SetTraceback("none")
	runtime.GOMAXPROCS(1)
	os.Clearenv()
	time.Local = time.UTC
}

// render answers a template's output. It is generated when another rendering of the same may come out differently.
func render(key, text string, items map[string][]byte, left *int) (a answer) {
	defer func() {
		if recover() != nil {
			a = answer{Failure: fmt.Sprintf("template: %s: can't be executed", key)}
		}
	}()
	chance := false
	parsed, err := template.New(key).Funcs(functions(&chance)).Parse(text)
	if err != nil {
		return answer{Failure: err.Error()}
	}
	first, err := execute(parsed, items, *left)
	if err != nil {
		return answer{Failure: describe(key, err)}
	}
	*left -= len(first)
	if !chance {
		second, err := execute(parsed, items, outputLimit)
		chance = err != nil || !bytes.Equal(first, second)
	}
	return answer{Value: first, Generated: chance}
}

func execute(t *template.Template, items map[string][]byte, limit int) ([]byte, error) {
	data := make(map[string]string, len(items))
	for name, value := range maps.All(items) {
		data[name] = string(value)
	}
	output := limited{left: limit}
	err := t.Execute(&output, data)
	return output.Bytes(), err
}

func describe(key string, err error) string {
	if errors.Is(err, errTooLong) {
		return fmt.Sprintf("template: %s: %v", key, errTooLong)
	}
	if at := position.FindString(err.Error()); at != "" {
		return at[:len(at)-len(`executing "`)] + "can't be executed"
	}
	return fmt.Sprintf("template: %s: can't be executed", key)
}

// limited is a buffer that takes so many bytes.
type limited struct {
	bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errTooLong
	}
	return l.Buffer.Write(p)
}
