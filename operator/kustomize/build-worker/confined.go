package main

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// base is where kustomize sees the artifact. Nobody can guess it, so that an absolute path, or one with too many
// `../`, never names a file of the artifact by luck.
var base = "/" + rand.Text()

// confined is the artifact folder as kustomize sees it: read-only, no way out, every look into it noted. The embedded
// interface stays nil: a build calls only the methods below, and any other would panic and be answered as an error.
type confined struct {
	filesys.FileSystem
	root    *os.Root
	overlay map[string][]byte // kustomization files that exist, or differ, in memory only
	visited []string          // what was read, in order
	refused error             // the first refusal ends the build, though kustomize may ignore it
	inputs  closure
}

// closure is everything that a build looked at, by path from the artifact's root (itself "."). An empty digest: only
// that it is a file (a directory) mattered. The digest of a directory covers its entries' names and types.
type closure struct {
	Files       map[string]string `json:"files"`
	Directories map[string]string `json:"directories"`
	Absent      map[string]bool   `json:"absent"`
}

func (c *confined) refuse(format string, arguments ...any) error {
	err := fmt.Errorf(format, arguments...)
	if c.refused == nil {
		c.refused = err
	}
	return err
}

// look answers what a path of kustomize's leads to, without following any link on the way.
func (c *confined) look(absolute string) (name string, info fs.FileInfo, err error) {
	name, inside := strings.CutPrefix(path.Clean(absolute)+"/", base+"/")
	if name = path.Clean(name); !inside {
		return "", nil, fmt.Errorf("%s is outside the artifact", path.Clean(absolute))
	} else if strings.ContainsRune(name, 0) {
		return "", nil, &fs.PathError{Op: "stat", Path: name, Err: syscall.ENOENT}
	}
	part := ""
	for _, step := range strings.Split(name, "/") {
		part = path.Join(part, step)
		info, err = c.root.Lstat(part)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENAMETOOLONG) {
			c.inputs.Absent[name] = true
			return name, nil, &fs.PathError{Op: "stat", Path: name, Err: syscall.ENOENT}
		} else if err != nil {
			return name, nil, c.refuse("%w", err)
		} else if !info.IsDir() && !info.Mode().IsRegular() {
			return name, nil, c.refuse("%s is neither a file nor a directory (%s): refused", part, info.Mode().Type())
		}
	}
	if info.IsDir() {
		c.inputs.Directories[name] += "" // noted, unless it is already
	} else {
		c.inputs.Files[name] += ""
	}
	return name, info, nil
}

// CleanedAbs splits a path into a directory and a file's name, as filesys.FileSystem wants it.
func (c *confined) CleanedAbs(absolute string) (filesys.ConfirmedDir, string, error) {
	name, info, err := c.look(absolute)
	if err != nil || info.IsDir() {
		return filesys.ConfirmedDir(path.Join(base, name)), "", err
	}
	return filesys.ConfirmedDir(path.Join(base, path.Dir(name))), path.Base(name), nil
}

// ReadFile answers a file's content, the overlay's first.
func (c *confined) ReadFile(absolute string) ([]byte, error) {
	if content, ok := c.overlay[absolute]; ok {
		return content, nil
	}
	name, info, err := c.look(absolute)
	if err != nil {
		return nil, err
	} else if info.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: syscall.EISDIR}
	}
	content, err := c.root.ReadFile(name)
	if err != nil {
		return nil, c.refuse("%w", err)
	}
	c.inputs.Files[name] = fmt.Sprintf("%x", sha256.Sum256(content))
	c.visited = append(c.visited, absolute)
	return content, nil
}

// list answers a directory's entries, sorted by name.
func (c *confined) list(absolute string) ([]fs.DirEntry, error) {
	name, _, err := c.look(absolute)
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(c.root.FS(), name)
	sum := sha256.New()
	for _, entry := range entries {
		fmt.Fprintf(sum, "%s\x00%t%t\n", entry.Name(), entry.IsDir(), entry.Type().IsRegular())
	}
	c.inputs.Directories[name] = fmt.Sprintf("%x", sum.Sum(nil))
	return entries, err
}

// RemoveAll is how kustomize tidies up after a git clone, which failed for want of a PATH. What it wanted to clone is
// the first reference that isn't in the artifact, in the kustomization read last that has one.
func (c *confined) RemoveAll(string) error {
	for _, file := range slices.Backward(c.visited) {
		var k types.Kustomization
		if content, _ := c.ReadFile(file); !isKustomization(file) || yaml.Unmarshal(content, &k) != nil {
			continue
		}
		for _, name := range slices.Concat(k.Resources, k.Bases, k.Generators, k.Components, k.Transformers, k.Validators) {
			if _, _, err := c.look(path.Join(path.Dir(file), name)); err != nil && !strings.Contains(name, "\n") {
				return c.refuse("remote base %q in %s is not allowed", name, file)
			}
		}
	}
	return c.refuse("remote bases are not allowed")
}

// RoundTrip refuses what kustomize would fetch: it is the process's HTTP transport.
func (c *confined) RoundTrip(request *http.Request) (*http.Response, error) {
	return nil, c.refuse("remote resource %q is not allowed", request.URL.Redacted())
}
