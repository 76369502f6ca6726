"""What a mirror has of Docker Hub is found without Docker Hub: tags and manifests, too."""

from ocimagic.registry.server import RegistryServer
from ocimagic.registry.source import MemorySource


def test_tags_and_manifests_come_from_a_mirror(make_engine, busybox_image):
    source = MemorySource()
    busybox_image.serve(source, "library/busybox", "latest", "1")
    with RegistryServer(source) as server:
        engine = make_engine(OCIMAGIC_REGISTRY_MIRROR=server.url)
        details = engine.manifests.details("busybox")
        assert details.document.digest == busybox_image.digest
        pulled = engine.images.pull_all("busybox")
        assert [each.digest for each in pulled] == [busybox_image.digest] * 2
