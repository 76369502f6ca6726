"""The messages of containerd's v1 services, as far as they are spoken here.

Numbers and names are those of containerd's ``api/*.proto`` (1.6; later versions kept them).
"""

from __future__ import annotations

from ocimagic.containerd.process_tables import RUN
from ocimagic.containerd.tables import KEPT
from ocimagic.wire.protos import message_classes

_FOUND = message_classes(KEPT | RUN)

well_known = _FOUND["google.protobuf"]
types = _FOUND["containerd.types"]
process_types = _FOUND["containerd.v1.types"]
cgroups = _FOUND["io.containerd.cgroups.v1"]
event_types = _FOUND["containerd.events"]
version = _FOUND["containerd.services.version.v1"]
namespaces = _FOUND["containerd.services.namespaces.v1"]
introspection = _FOUND["containerd.services.introspection.v1"]
images = _FOUND["containerd.services.images.v1"]
content = _FOUND["containerd.services.content.v1"]
snapshots = _FOUND["containerd.services.snapshots.v1"]
diff = _FOUND["containerd.services.diff.v1"]
leases = _FOUND["containerd.services.leases.v1"]
containers = _FOUND["containerd.services.containers.v1"]
tasks = _FOUND["containerd.services.tasks.v1"]
events = _FOUND["containerd.services.events.v1"]
