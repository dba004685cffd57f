/** The one watch of Secrets that everybody shares who must hear of a change and may hold no value. */

import { SECRET } from '../api/resources.ts';
import type { InformerSpec } from '../kube/informers.ts';

/** Helm keeps its releases, megabytes of them, in Secrets; nothing of ours refers to one or makes one. */
const ALL_BUT_HELM_RELEASES = 'type!=helm.sh/release.v1';

/** What to acquire: Secrets as metadata, of which the resourceVersion is kept. Absent namespace: everywhere. */
export function secretVersions(namespace: string | undefined): InformerSpec<string> {
  return {
    type: SECRET,
    namespace,
    fieldSelector: ALL_BUT_HELM_RELEASES,
    metadataOnly: true,
    keep: ({ metadata }) => metadata.resourceVersion,
    variant: 'versions',
  };
}
