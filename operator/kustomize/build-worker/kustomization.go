package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/provider"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"
)

// overlay is what a Kustomization's spec adds to the kustomization file, in the spec's own words.
type overlay struct {
	TargetNamespace, NamePrefix, NameSuffix string
	Patches                                 []types.Patch
	Images                                  []types.Image
	Components, BuildMetadata               []string
	IgnoreMissingComponents                 bool
}

// build answers the objects of a directory, with its kustomization file generated where there is none, as Flux does it.
func (c *confined) build(directory string, spec overlay) ([]*resource.Resource, error) {
	file := c.kustomizationIn(directory)
	k := types.Kustomization{TypeMeta: types.TypeMeta{APIVersion: types.KustomizationVersion, Kind: types.KustomizationKind}}
	generated := file == ""
	if generated {
		var err error
		if k.Resources, err = c.scan(directory, "."); err != nil {
			return nil, err
		}
		file = path.Join(directory, konfig.DefaultKustomizationFileName())
	} else if content, err := c.ReadFile(file); err != nil {
		return nil, err
	} else if err := k.Unmarshal(content); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := c.merge(&k, directory, spec); err != nil {
		return nil, err
	}
	if generated && k.CheckEmpty() != nil {
		return nil, nil
	}
	var err error
	if c.overlay[file], err = yaml.Marshal(k); err != nil {
		return nil, err
	}
	options := krusty.Options{LoadRestrictions: types.LoadRestrictionsNone, PluginConfig: types.DisabledPluginConfig()}
	built, err := krusty.MakeKustomizer(&options).Run(c, directory)
	if err == nil {
		return built.Resources(), nil
	}
	if generated {
		err = c.explain(err, directory, k.Resources)
	}
	return nil, err
}

func (c *confined) kustomizationIn(directory string) string {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		file := path.Join(directory, name)
		if _, info, err := c.look(file); err == nil && info.Mode().IsRegular() {
			return file
		}
	}
	return ""
}

// scan answers the resources of a generated kustomization, by path from directory.
func (c *confined) scan(directory, under string) (resources []string, err error) {
	entries, err := c.list(path.Join(directory, under))
	for _, entry := range entries {
		name := under + "/" + entry.Name()
		switch extension := path.Ext(name); {
		case entry.IsDir() && c.kustomizationIn(path.Join(directory, name)) == "":
			more, failed := c.scan(directory, name)
			resources, err = append(resources, more...), errors.Join(err, failed)
		case entry.IsDir(), extension == ".yaml", extension == ".yml":
			resources = append(resources, name)
		}
	}
	return resources, err
}

// explain names the file of a generated kustomization that holds no Kubernetes objects, else answers the error as it is.
func (c *confined) explain(failed error, directory string, resources []string) error {
	factory := provider.NewDefaultDepProvider().GetResourceFactory()
	for _, name := range resources {
		if content, err := c.ReadFile(path.Join(directory, name)); err != nil {
			continue
		} else if _, err = factory.SliceFromBytes(content); err != nil {
			return fmt.Errorf("failed to decode Kubernetes YAML from %s: %w", path.Join(directory, name), err)
		}
	}
	return failed
}

func (c *confined) merge(k *types.Kustomization, directory string, spec overlay) error {
	override(&k.Namespace, spec.TargetNamespace)
	override(&k.NamePrefix, spec.NamePrefix)
	override(&k.NameSuffix, spec.NameSuffix)
	k.Patches = append(k.Patches, spec.Patches...)
	if len(spec.BuildMetadata) > 0 {
		k.BuildMetadata = spec.BuildMetadata
	}
	for _, image := range spec.Images {
		at := 0
		for at < len(k.Images) && k.Images[at].Name != image.Name {
			at++
		}
		if at == len(k.Images) {
			k.Images = append(k.Images, types.Image{Name: image.Name})
		}
		override(&k.Images[at].NewName, image.NewName)
		if image.NewTag != "" || image.Digest != "" { // one clears the other
			k.Images[at].NewTag, k.Images[at].Digest = image.NewTag, image.Digest
		}
	}
	for _, component := range spec.Components {
		if path.IsAbs(component) || strings.Contains(component, "://") {
			return fmt.Errorf("component path %q must be local and relative", component)
		}
		_, _, err := c.look(path.Join(directory, component))
		if !spec.IgnoreMissingComponents || !errors.Is(err, fs.ErrNotExist) {
			k.Components = append(k.Components, component)
		}
	}
	return nil
}

func override(field *string, value string) {
	if value != "" {
		*field = value
	}
}
