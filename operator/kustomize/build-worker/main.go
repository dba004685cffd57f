// The build worker: kustomize's own code behind a confined, recording file system (issue #5).
//
// One request a line on standard input; the answer is a line {"object": …} for each object in kustomize's order, then
// {"inputs": …, "error": null}, or {"inputs": null, "error": {"message", "pathNotFound"}} whatever came before.
// The one argument is the limit of the process's memory in MiB; standard error is for people.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/openapi"
	"sigs.k8s.io/yaml"
)

// request: Overlay is what a Kustomization's spec adds, in kustomize's words.
type request struct {
	Root, Path              string
	Overlay                 types.Kustomization
	IgnoreMissingComponents bool
}

type failure struct {
	Message      string `json:"message"`
	PathNotFound bool   `json:"pathNotFound,omitempty"`
}

func main() {
	limit, err := strconv.ParseUint(os.Args[1], 10, 32)
	if err == nil { // the kernel gives no more, and Go's collector works harder before that
		err = syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: limit << 20, Max: limit << 20})
	}
	if err != nil {
		panic(err)
	}
	debug.SetMemoryLimit(int64(limit<<20) / 10 * 8)
	os.Clearenv() // no PATH: kustomize finds no git to clone with
	requests, answers := make(chan request), bufio.NewWriterSize(os.Stdout, 1<<16)
	go read(os.Stdin, requests)
	os.Stdout = os.Stderr // whatever a library prints is no answer
	schema := openapi.GetSchemaVersion()
	for r := range requests {
		inputs, failed := answer(r, answers)
		if failed != nil {
			failed.Message = strings.NewReplacer(base+"/", "", base, ".").Replace(failed.Message)
		}
		line, _ := json.Marshal(map[string]any{"inputs": inputs, "error": failed})
		answers.Write(append(line, '\n'))
		answers.Flush()
		if failed != nil || openapi.GetSchemaVersion() != schema {
			openapi.ResetOpenAPI() // a schema that one build brings along would serve the next one too
		}
	}
}

// read hands over what is asked, and ends the process when nobody is there to ask any more: a build under way is of no
// use to an operator that was killed, and its memory is needed by the next.
func read(from io.Reader, requests chan<- request) {
	for decoder := json.NewDecoder(from); ; {
		r := request{}
		if decoder.Decode(&r) != nil {
			os.Exit(0)
		}
		requests <- r
	}
}

func answer(r request, answers *bufio.Writer) (inputs *closure, failed *failure) {
	defer func() {
		if problem := recover(); problem != nil {
			failed = &failure{Message: fmt.Sprintf("kustomize panicked: %v", problem)}
		}
	}()
	root, err := os.OpenRoot(r.Root)
	if err != nil {
		return nil, &failure{Message: err.Error()}
	}
	defer root.Close()
	c := &confined{root: root, overlay: map[string][]byte{}, inputs: closure{map[string]string{}, map[string]string{}, map[string]bool{}}}
	http.DefaultTransport = c
	directory := path.Join(base, path.Join("/", r.Path))
	if _, info, err := c.look(directory); err != nil {
		return nil, &failure{"kustomization path not found: " + err.Error(), true}
	} else if !info.IsDir() {
		return nil, &failure{"kustomization path is not a directory: " + directory, true}
	}
	objects, err := c.build(directory, r)
	for _, object := range objects {
		content, invalid := object.MarshalJSON()
		if invalid != nil {
			err = fmt.Errorf("%s: %w", object.CurId(), invalid)
			break
		}
		fmt.Fprintf(answers, "{\"object\":%s}\n", content)
	}
	if err = cmp.Or(c.refused, err); err != nil {
		return nil, &failure{Message: err.Error()}
	}
	return &c.inputs, nil
}

// build answers the objects of a directory, with its kustomization file generated where there is none, as Flux does it.
func (c *confined) build(directory string, r request) ([]*resource.Resource, error) {
	k := types.Kustomization{TypeMeta: types.TypeMeta{APIVersion: types.KustomizationVersion, Kind: types.KustomizationKind}}
	file, err := c.kustomizationIn(directory), error(nil)
	generated := file == ""
	if generated {
		file = path.Join(directory, konfig.DefaultKustomizationFileName())
		k.Resources, err = c.scan(directory, ".")
	} else if content, unread := c.ReadFile(file); unread != nil {
		return nil, unread
	} else if invalid := k.Unmarshal(content); invalid != nil {
		return nil, fmt.Errorf("%s: %w", file, invalid)
	}
	c.merge(&k, directory, r)
	if err != nil || generated && k.CheckEmpty() != nil {
		return nil, err
	}
	if c.overlay[file], err = yaml.Marshal(k); err != nil {
		return nil, err
	}
	options := krusty.Options{LoadRestrictions: types.LoadRestrictionsNone, PluginConfig: types.DisabledPluginConfig()}
	built, err := krusty.MakeKustomizer(&options).Run(c, directory)
	if err != nil {
		return nil, err
	}
	return built.Resources(), nil
}

// merge adds what the spec says to the kustomization file: scalars override, an image merges with the file's by field.
func (c *confined) merge(k *types.Kustomization, directory string, r request) {
	k.Namespace = cmp.Or(r.Overlay.Namespace, k.Namespace)
	k.NamePrefix = cmp.Or(r.Overlay.NamePrefix, k.NamePrefix)
	k.NameSuffix = cmp.Or(r.Overlay.NameSuffix, k.NameSuffix)
	k.Patches = append(k.Patches, r.Overlay.Patches...)
	if r.Overlay.BuildMetadata != nil {
		k.BuildMetadata = r.Overlay.BuildMetadata
	}
	for _, image := range r.Overlay.Images {
		at := slices.IndexFunc(k.Images, func(other types.Image) bool { return other.Name == image.Name })
		if at < 0 {
			k.Images = append(k.Images, image)
			continue
		}
		k.Images[at].NewName = cmp.Or(image.NewName, k.Images[at].NewName)
		if image.NewTag != "" || image.Digest != "" { // one clears the other
			k.Images[at].NewTag, k.Images[at].Digest = image.NewTag, image.Digest
		}
	}
	for _, component := range r.Overlay.Components {
		_, _, err := c.look(path.Join(directory, component))
		if !r.IgnoreMissingComponents || !errors.Is(err, fs.ErrNotExist) {
			k.Components = append(k.Components, component)
		}
	}
}

// scan answers the resources of a generated kustomization, by path from directory.
func (c *confined) scan(directory, under string) (resources []string, err error) {
	entries, err := c.list(path.Join(directory, under))
	for _, entry := range entries {
		name := under + "/" + entry.Name()
		if entry.IsDir() && c.kustomizationIn(path.Join(directory, name)) == "" {
			more, failed := c.scan(directory, name)
			resources, err = append(resources, more...), errors.Join(err, failed)
		} else if extension := path.Ext(name); entry.IsDir() || extension == ".yaml" || extension == ".yml" {
			resources = append(resources, name)
		}
	}
	return resources, err
}

func (c *confined) kustomizationIn(directory string) string {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		if _, info, err := c.look(path.Join(directory, name)); err == nil && !info.IsDir() {
			return path.Join(directory, name)
		}
	}
	return ""
}

func isKustomization(file string) bool {
	return slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(file))
}
