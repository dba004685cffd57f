// Answers which tag github.com/Masterminds/semver/v3 takes for a range, the way Flux asks it: the tags it can't read
// are left out, those that the range doesn't allow too, and the highest of the rest wins.
//
// Standard input: one JSON array of {"range": "...", "tags": ["..."]}. Standard output: the same array with "invalid"
// (the range can't be read) or "allowed" (tags within the range, in the order given) and "newest" (those of the
// highest version) added.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/Masterminds/semver/v3"
)

type question struct {
	Range   string   `json:"range"`
	Tags    []string `json:"tags"`
	Invalid bool     `json:"invalid,omitempty"`
	Allowed []string `json:"allowed"`
	Newest  []string `json:"newest"`
}

func main() {
	var questions []question
	if err := json.NewDecoder(os.Stdin).Decode(&questions); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for i := range questions {
		answer(&questions[i])
	}
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	if err := out.Encode(questions); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func answer(q *question) {
	q.Allowed, q.Newest = []string{}, []string{}
	constraint, err := semver.NewConstraint(q.Range)
	if err != nil {
		q.Invalid = true
		return
	}
	var newest *semver.Version
	for _, tag := range q.Tags {
		version, err := parseTag(tag)
		if err != nil || !constraint.Check(version) {
			continue
		}
		q.Allowed = append(q.Allowed, tag)
		if newest == nil || version.GreaterThan(newest) {
			newest = version
			q.Newest = []string{tag}
		} else if version.Equal(newest) {
			q.Newest = append(q.Newest, tag)
		}
	}
}

// As github.com/fluxcd/pkg/version has it: strict, but for a "v" in front.
func parseTag(tag string) (*semver.Version, error) {
	if _, err := semver.StrictNewVersion(strings.TrimPrefix(tag, "v")); err != nil {
		return nil, err
	}
	return semver.NewVersion(tag)
}
