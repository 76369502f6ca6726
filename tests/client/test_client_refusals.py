"""What a Docker API cannot tell or do is refused in words that name what does; and failures."""

import pytest

from ocimagic.client import ApiClient
from ocimagic.client.failures import failure
from ocimagic.errors import (
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    ContainerNotFound,
    HostLacks,
    ImageInUse,
    ImageNotFound,
    InvalidOption,
    InvalidState,
    NameInUse,
    NeighbourError,
    NetworkNotFound,
    NotFound,
    PortTaken,
    StartFailed,
    Unauthorized,
    VolumeNotFound,
)
from ocimagic.model.options import BuildOptions


@pytest.mark.parametrize(
    ("status", "message", "kind", "wanted"),
    [
        (404, "No such container: x", "container", ContainerNotFound),
        (404, "No such image: x:latest", "image", ImageNotFound),
        (404, "No such image: x:latest", "container", ImageNotFound),
        (404, "network x not found", "container", NetworkNotFound),
        (404, "get x: no such volume", "volume", VolumeNotFound),
        (404, "Could not find the file /x in container y", "container", NotFound),
        (404, "", "volume", VolumeNotFound),
        (409, 'Conflict. The container name "/x" is already in use by "y".', "image", NameInUse),
        (409, "Container x is not running", "container", InvalidState),
        (409, "conflict: unable to remove repository reference", "image", ImageInUse),
        (409, "something else", "container", Conflict),
        (403, "network x has active endpoints", "network", Conflict),
        (400, "invalid reference format", "image", InvalidOption),
        (400, 'exec: "x": executable file not found in $PATH: unknown', "start", CommandNotFound),
        (400, 'exec: "/x": permission denied: unknown', "start", CommandNotExecutable),
        (500, "Bind for 0.0.0.0:80 failed: port is already allocated", "start", PortTaken),
        (500, "failed to create shim", "start", StartFailed),
        (500, "pull access denied for x, repository does not exist", "pull", ImageNotFound),
        (500, "unauthorized: authentication required", "pull", Unauthorized),
        (500, "boom", "container", NeighbourError),
        (501, "configured logging driver does not support reading", "container", InvalidState),
        (503, "This node is not a swarm manager", "", HostLacks),
        # podman's
        (500, "dial udp 10.0.0.1:53: connect: network is unreachable", "pull", NeighbourError),
        (404, "unable to find network with name or ID x: network not found", "container",
         NetworkNotFound),
        (500, 'the container name "x" is already in use by y', "image", NameInUse),
        (500, "container-init binary not found on the host", "image", NeighbourError),
        (500, "x not found: layer not known", "container", ContainerNotFound),
        (409, 'preparing container x for attach: exec: "x": executable file not found in $PATH',
         "start", CommandNotFound),
    ],
)  # fmt: skip
def test_what_an_api_says_becomes_our_error(status, message, kind, wanted):
    found = failure(status, message, kind, "unix:///x")
    assert type(found) is wanted
    assert not message or found.what == message


@pytest.mark.parametrize("said", ["Not Found", "page not found", "404 page not found"])
def test_a_path_that_an_api_does_not_know_is_no_thing_that_is_missing(said):
    found = failure(404, said, "container", "unix:///x")
    assert type(found) is HostLacks
    assert found.where == "unix:///x"


REFUSED = {
    "layers": lambda engine: engine.images.layers("x"),
    "waste": lambda engine: engine.images.waste("x"),
    "explore": lambda engine: engine.images.explore("x"),
    "diff": lambda engine: engine.images.diff("x", "y"),
    "verify": lambda engine: engine.images.verify(),
    "trees": lambda engine: engine.images.trees(),
    "copy": lambda engine: engine.images.copy("x", "y"),
    "list_registry": lambda engine: engine.images.list_registry("x"),
    "referrers": lambda engine: engine.images.referrers("x"),
    "logout": lambda engine: engine.images.logout("x"),
    "check": lambda engine: engine.images.check(BuildOptions(dockerfile="")),
    "bootstrap": lambda engine: engine.images.bootstrap("debian:bookworm"),
    "adoptable": lambda engine: engine.images.adoptable(),
    "adopt": lambda engine: engine.images.adopt(["x"]),
    "pull_all": lambda engine: engine.images.pull_all("x"),
    "secrets": lambda engine: engine.images.build(BuildOptions(dockerfile="", secrets={"a": b""})),
    "save": lambda engine: engine.images.save(["x"], print, format="oci"),
    "bundle": lambda engine: engine.containers.bundle("x"),
    "namespaces": lambda engine: engine.containers.namespaces("x"),
    "own layer": lambda engine: engine.containers.layers("x"),
    "names": lambda engine: engine.containers.names("x", "/"),
    "explain": lambda engine: engine.explainer.explain(),
    "diagnose": lambda engine: engine.system.diagnose(),
    "serve_registry": lambda engine: engine.system.serve_registry(),
    "manifest": lambda engine: engine.manifests.inspect("x"),
    "manifest create": lambda engine: engine.manifests.create("x", ["y"]),
    "volume export": lambda engine: engine.volumes.export("x", print),
    "volume load": lambda engine: engine.volumes.load("x", b""),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_in_words(what):
    with ApiClient("unix:///nowhere") as engine, pytest.raises(HostLacks) as caught:
        REFUSED[what](engine)
    assert caught.value.what.startswith("a Docker API ")
    assert "%docker_host here" in caught.value.hint
