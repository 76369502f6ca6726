"""Every link of ``explain`` leads to a heading that is in the text of its specification.

The headings were read in the texts themselves, once, by hand; of long documents only those parts
that links lead into.  A link to another one fails here until somebody has looked it up.
"""

import re
from collections import Counter

import pytest

from ocimagic.engine import story_exec, story_runtime
from ocimagic.model import chapters
from ocimagic.model.explanation import Chapter
from ocimagic.wire import requests

READ = {
    ("runtime-spec", "runtime.md"): """
        Runtime and Lifecycle | Scope of a Container | State | Lifecycle | Errors | Warnings |
        Operations | Query State | Create | Start | Kill | Delete | Hooks""",
    ("runtime-spec", "config.md"): """
        Configuration | Specification version | Example | Root | Example (POSIX platforms) |
        Example (Windows) | Mounts | Linux mount options | Example (Windows) |
        POSIX-platform Mounts | Example (Linux) | Example (Solaris) | Process | POSIX process |
        Linux Process | User | POSIX-platform User | Example (Linux) | Example (Solaris) |
        Windows User | Example (Windows) | Hostname | Example | Domainname | Example |
        Platform-specific configuration | Example (Linux) | POSIX-platform Hooks""",
    ("runtime-spec", "config-linux.md"): """
        Linux Container Configuration | Default Filesystems | Namespaces | Example |
        User namespace mappings | Example | Offset for Time Namespace | Devices | Example |
        Default Devices | Control groups | Cgroups Path | Cgroup ownership | Example |
        Allowed Device list | Example | Memory | Example | CPU | Sysctl | Example | Seccomp |
        Example | The Container Process State | Rootfs Mount Propagation | Example |
        Masked Paths | Example | Readonly Paths | Example | Mount Label | Example |
        Personality""",
    ("image-spec", "manifest.md"): """
        OCI Image Manifest Specification | Image Manifest |
        Image Manifest Property Descriptions | Example Image Manifest""",
    ("image-spec", "config.md"): """
        OCI Image Configuration | Terminology | Layer | Image JSON | Layer DiffID |
        Layer ChainID | Definition | Explanation | ImageID | Properties | Example""",
    ("image-spec", "layer.md"): "Applying Changesets",
    ("image-spec", "conversion.md"): """
        Conversion to OCI Runtime Configuration | Verbatim Fields | Annotation Fields |
        Parsed Fields | Optional Fields | Annotations""",
    ("distribution-spec", "spec.md"): "Pulling manifests | Pulling blobs",
}
# moby's docs/api/v1.41.yaml: operationId, and the first of its tags.
OPERATIONS = {
    ("ContainerCreate", "Container"), ("ContainerInspect", "Container"),
    ("ContainerStart", "Container"), ("ContainerAttach", "Container"),
    ("ContainerWait", "Container"), ("ImageBuild", "Image"), ("ImageCreate", "Image"),
    ("ContainerExec", "Exec"), ("ExecStart", "Exec"), ("ExecInspect", "Exec"),
}  # fmt: skip
LINKS = {name: each for name, each in vars(chapters).items() if isinstance(each, Chapter)}
FORM = re.compile(
    r"https://github\.com/opencontainers/(?P<spec>\w+-spec)/blob/(?P<version>v\d+\.\d+\.\d+)/"
    r"(?P<document>[\w-]+\.md)#(?P<anchor>[a-z0-9-]+)"
)


def anchors(text):
    """Return the anchors of a document, by GitHub's rule: a second one of its kind gets -1."""
    seen = Counter()
    for heading in " ".join(text.split()).split(" | "):
        anchor = re.sub(r"[^a-z0-9_\- ]", "", heading.lower()).replace(" ", "-")
        number = seen[anchor]
        seen[anchor] += 1
        yield f"{anchor}-{number}" if number else anchor


@pytest.mark.parametrize("name", LINKS)
def test_every_link_leads_to_a_heading_that_was_read(name):
    found = FORM.fullmatch(LINKS[name].url)
    assert found, LINKS[name].url
    there = list(anchors(READ[found["spec"], found["document"]]))
    assert found["anchor"] in there
    spec, _, heading = LINKS[name].title.partition(": ")
    assert spec == found["spec"]
    assert chapters.slug(heading) == found["anchor"]
    # The heading is the only one of its words: else the first of them is meant, perhaps not ours.
    assert f"{found['anchor']}-1" not in there


def test_all_that_is_told_of_a_process_has_a_link_of_the_list():
    for *_, chapter in (*story_runtime._GROUPS, *story_exec._GROUPS):
        assert chapter in LINKS.values()


def test_every_request_is_one_that_docker_describes():
    asked = {"command": ("ls",)}
    sent = [*requests.exec_requests(asked, "a", "b"), requests.build_request({}, [])]
    with_tags = set(re.findall(r'"((?:Container|Image|Exec)[A-Z]\w+)"', read(requests)))
    assert {operation for operation, _ in OPERATIONS} == with_tags
    for each in sent:
        assert (each.operation, each.tag) in OPERATIONS
        link = chapters.docker_api(each.operation, each.tag).url
        assert link.endswith(f"/v1.41/#tag/{each.tag}/operation/{each.operation}")


def read(module):
    with open(module.__file__, encoding="utf-8") as file:
        return file.read()
