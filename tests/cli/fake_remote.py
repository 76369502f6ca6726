"""What registries hold, of plain values: it records what it was asked and answers at once."""

import remote_samples as samples

from ocimagic.errors import ImageNotFound
from ocimagic.model.event import ignore


class FakeRemote:
    """Verbs on images that are elsewhere."""

    def copy(
        self, source, target, *, all=False, platform=None, on_event=ignore, cancelled=None  # noqa: A002
    ):  # fmt: skip
        self.calls.append(("copy", source, target, all, platform))
        return samples.copied(reference=target)

    def list_registry(self, name):
        self.calls.append(("registry ls", name))
        return samples.listing(name)

    def search(self, term, *, limit=25, cancelled=None):
        self.calls.append(("search", term, limit))
        return samples.hits()

    def referrers(self, name, *, artifact_type="", platform=None):
        self.calls.append(("referrers", name, artifact_type, platform))
        return samples.referrers()

    def trees(self):
        self.calls.append(("trees",))
        return samples.trees()


class FakeManifests:
    def __init__(self, calls):
        self.calls = calls

    def inspect(self, name, *, within=None, on_event=ignore):
        self.calls.append(("manifest inspect", name, within))
        if name == "missing":
            raise ImageNotFound("no image missing")
        return samples.index_document()

    def details(self, name, *, within=None, on_event=ignore):
        self.calls.append(("manifest details", name, within))
        return samples.manifest_details(is_list=within is None and name != "one")

    def create(self, name, images, *, amend=False):
        self.calls.append(("manifest create", name, *images, amend))
        return samples.manifest_list(name)

    def annotate(self, name, image, change):
        self.calls.append(("manifest annotate", name, image, change))
        return samples.manifest_list(name)

    def push(self, name, *, purge=False, compression="gzip", on_event=ignore, cancelled=None):
        self.calls.append(("manifest push", name, purge, compression))
        return samples.list_pushed(reference=name, purged=purge)

    def remove(self, *names):
        self.calls.append(("manifest rm", *names))
        return names
