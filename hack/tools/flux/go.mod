module signet.dev/hack/tools/flux

go 1.26.0

// Only names the version and, with go.sum, its digest: the CLI is built in a copy of its module's own folder.
require github.com/fluxcd/flux2/v2 v2.9.5
