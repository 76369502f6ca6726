"""Requests that ctr never sends: our services answer with the codes of Debian's containerd."""

import hashlib
import json
import shutil

import pytest

pytest.importorskip("grpc", reason="grpcio is not installed")

from ocimagic.containerd import messages as m

EMPTY = m.well_known.Empty
NO_DIGEST = "sha256:" + "0" * 64
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def image(name="docker.io/library/x:1", digest=NO_DIGEST, size=1, kind=MANIFEST):
    target = m.types.Descriptor(media_type=kind, digest=digest, size=size)
    return m.images.Image(name=name, target=target)


def container(name, **more):
    spec = m.well_known.Any(type_url="types.containerd.io/x", value=b"{}")
    runtime = m.containers.Runtime(name="io.containerd.runc.v2")
    return m.containers.Container(**{"id": name, "spec": spec, "runtime": runtime, **more})


SERVICES = {
    "namespaces": "namespaces.v1.Namespaces",
    "images": "images.v1.Images",
    "content": "content.v1.Content",
    "snapshots": "snapshots.v1.Snapshots",
    "containers": "containers.v1.Containers",
    "tasks": "tasks.v1.Tasks",
    "leases": "leases.v1.Leases",
    "diff": "diff.v1.Diff",
}


def asked(peer, package, method, request, answer=EMPTY, **more):
    return peer.call(SERVICES[package], method, request, answer, **more)


@pytest.mark.parametrize(
    ("name", "code"),
    [("a/b", "INVALID_ARGUMENT"), ("", "INVALID_ARGUMENT"), ("x" * 77, "INVALID_ARGUMENT"),
     ("-a", "INVALID_ARGUMENT"), ("a..b", "INVALID_ARGUMENT")],
)  # fmt: skip
def test_a_namespace_has_a_plain_name(peer, name, code):
    wanted = m.namespaces.Namespace(name=name)
    request = m.namespaces.CreateNamespaceRequest(namespace=wanted)
    answer = m.namespaces.CreateNamespaceResponse
    assert asked(peer, "namespaces", "Create", request, answer) == code


def test_a_request_needs_a_namespace(peer):
    request, answer = m.images.ListImagesRequest(), m.images.ListImagesResponse
    assert asked(peer, "images", "List", request, answer, namespace="") == "FAILED_PRECONDITION"


@pytest.mark.parametrize(
    ("package", "method", "request_", "code"),
    [
        ("namespaces", "Delete", m.namespaces.DeleteNamespaceRequest(name="no"), "NOT_FOUND"),
        ("images", "Get", m.images.GetImageRequest(name="no"), "NOT_FOUND"),
        ("images", "Delete", m.images.DeleteImageRequest(name="no"), "NOT_FOUND"),
        ("images", "Create", m.images.CreateImageRequest(image=image(name="")), "INVALID_ARGUMENT"),
        ("images", "Create", m.images.CreateImageRequest(image=image(digest="../x")),
         "INVALID_ARGUMENT"),
        ("images", "Create", m.images.CreateImageRequest(image=image(size=0)), "INVALID_ARGUMENT"),
        ("content", "Info", m.content.InfoRequest(digest=NO_DIGEST), "NOT_FOUND"),
        ("content", "Info", m.content.InfoRequest(digest="../../etc/passwd"), "INVALID_ARGUMENT"),
        ("content", "Delete", m.content.DeleteContentRequest(digest=NO_DIGEST), "NOT_FOUND"),
        ("content", "Status", m.content.StatusRequest(ref="no"), "NOT_FOUND"),
        ("content", "Abort", m.content.AbortRequest(ref="no"), "NOT_FOUND"),
        ("snapshots", "Stat", m.snapshots.StatSnapshotRequest(snapshotter="no", key="x"),
         "INVALID_ARGUMENT"),
        ("snapshots", "Stat", m.snapshots.StatSnapshotRequest(snapshotter="overlayfs", key="no"),
         "NOT_FOUND"),
        ("snapshots", "Prepare",
         m.snapshots.PrepareSnapshotRequest(snapshotter="overlayfs", key="k", parent="no"),
         "NOT_FOUND"),
        ("snapshots", "Commit",
         m.snapshots.CommitSnapshotRequest(snapshotter="overlayfs", key="no", name="n"),
         "NOT_FOUND"),
        ("containers", "Get", m.containers.GetContainerRequest(id="no"), "NOT_FOUND"),
        ("containers", "Create", m.containers.CreateContainerRequest(container=container("../x")),
         "INVALID_ARGUMENT"),
        ("containers", "Create",
         m.containers.CreateContainerRequest(container=container("x", spec=None)),
         "INVALID_ARGUMENT"),
        ("containers", "Create",
         m.containers.CreateContainerRequest(container=container("x", runtime=None)),
         "INVALID_ARGUMENT"),
        ("containers", "Delete", m.containers.DeleteContainerRequest(id="no"), "NOT_FOUND"),
        ("tasks", "Create", m.tasks.CreateTaskRequest(container_id="no"), "NOT_FOUND"),
        ("tasks", "Start", m.tasks.StartRequest(container_id="no"), "NOT_FOUND"),
        ("tasks", "Kill", m.tasks.KillRequest(container_id="no", signal=9), "NOT_FOUND"),
        ("tasks", "Wait", m.tasks.WaitRequest(container_id="no"), "NOT_FOUND"),
        ("leases", "Delete", m.leases.DeleteRequest(id="no"), "NOT_FOUND"),
        ("leases", "AddResource", m.leases.AddResourceRequest(id="no"), "NOT_FOUND"),
    ],
)  # fmt: skip
def test_codes_are_containerds(peer, package, method, request_, code):
    assert asked(peer, package, method, request_) == code


def test_a_second_of_a_name_is_refused(peer):
    request = m.images.CreateImageRequest(image=image())
    answer = m.images.CreateImageResponse
    assert asked(peer, "images", "Create", request, answer).image.name == "docker.io/library/x:1"
    assert asked(peer, "images", "Create", request, answer) == "ALREADY_EXISTS"
    asked(peer, "images", "Delete", m.images.DeleteImageRequest(name="docker.io/library/x:1"))
    lease = m.leases.CreateRequest(id="l")
    assert asked(peer, "leases", "Create", lease, m.leases.CreateResponse).lease.id == "l"
    assert asked(peer, "leases", "Create", lease, m.leases.CreateResponse) == "ALREADY_EXISTS"
    asked(peer, "leases", "Delete", m.leases.DeleteRequest(id="l"))


def test_labels_change_by_a_mask(peer):
    asked(peer, "images", "Create", m.images.CreateImageRequest(image=image()))
    new = image()
    new.labels.update({"a": "1", "b": "2"})
    mask = m.well_known.FieldMask(paths=["labels.a"])
    request = m.images.UpdateImageRequest(image=new, update_mask=mask)
    changed = asked(peer, "images", "Update", request, m.images.UpdateImageResponse)
    assert dict(changed.image.labels) == {"a": "1"}
    bad = m.images.UpdateImageRequest(image=new, update_mask=m.well_known.FieldMask(paths=["no"]))
    assert asked(peer, "images", "Update", bad, m.images.UpdateImageResponse) == "INVALID_ARGUMENT"
    asked(peer, "images", "Delete", m.images.DeleteImageRequest(name="docker.io/library/x:1"))


def write(peer, *requests, **more):
    made = [m.content.WriteContentRequest(**each) for each in requests]
    answer = m.content.WriteContentResponse
    return peer.call(
        "content.v1.Content", "Write", made, answer, stream=True, **({"lease": "w"} | more)
    )


STAT, WRITE, COMMIT = 0, 1, 2


@pytest.fixture
def lease(peer):
    asked(peer, "leases", "Create", m.leases.CreateRequest(id="w"), m.leases.CreateResponse)
    yield "w"
    asked(peer, "leases", "Delete", m.leases.DeleteRequest(id="w"))


def digest_of(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_a_write_goes_on_where_it_stopped(peer, lease):
    data = b"half and the other half"
    write(peer, {"action": STAT, "ref": "r", "total": len(data)},
          {"action": WRITE, "data": data[:5]})  # fmt: skip
    status = asked(
        peer, "content", "Status", m.content.StatusRequest(ref="r"), m.content.StatusResponse
    )
    assert (status.status.offset, status.status.total) == (5, len(data))
    answers = write(peer, {"action": STAT, "ref": "r"},
                    {"action": WRITE, "offset": 5, "data": data[5:]},
                    {"action": COMMIT, "offset": len(data), "total": len(data),
                     "expected": digest_of(data)})  # fmt: skip
    # containerd's last answer comes twice.
    assert [each.offset for each in answers][:3] == [5, len(data), len(data)]
    assert answers[-1].digest == digest_of(data)
    again = write(peer, {"action": STAT, "ref": "r2", "expected": digest_of(data)})
    assert again == "ALREADY_EXISTS"
    info = m.content.InfoRequest(digest=digest_of(data))
    # Other namespaces do not see it, but whoever knows it need not send it again.
    there = {"namespace": "third"}
    assert asked(peer, "content", "Info", info, m.content.InfoResponse, **there) == "NOT_FOUND"
    request = {"action": STAT, "ref": "r", "expected": digest_of(data), "total": len(data)}
    [known, *_] = write(peer, request, namespace="third", lease="")
    assert known.offset == len(data)
    asked(peer, "content", "Abort", m.content.AbortRequest(ref="r"), **there)


@pytest.mark.parametrize(
    ("second", "code"),
    [
        ({"action": WRITE, "offset": 3, "data": b"x"}, "OUT_OF_RANGE"),
        ({"action": COMMIT, "offset": 4, "total": 5}, "FAILED_PRECONDITION"),
        ({"action": COMMIT, "offset": 4, "expected": NO_DIGEST}, "FAILED_PRECONDITION"),
    ],
)
def test_a_write_that_is_not_what_it_says_is_refused(peer, lease, second, code):
    first = {"action": WRITE, "ref": "wrong", "data": b"data"}
    assert write(peer, first, second) == code
    asked(peer, "content", "Abort", m.content.AbortRequest(ref="wrong"))


def test_a_write_needs_a_reference(peer, lease):
    assert write(peer, {"action": STAT}) == "INVALID_ARGUMENT"


def test_reading_stops_at_the_end(peer):
    [digest, *_] = peer.ctr("content", "ls", "-q").stdout.split()
    request = m.content.ReadContentRequest(digest=digest, offset=1 << 40)
    answer = m.content.ReadContentResponse
    code = peer.call("content.v1.Content", "Read", [request], answer, stream=True)
    assert code == "OUT_OF_RANGE"


def test_a_view_can_be_looked_at_only(peer, lease):
    [[base, _]] = [row for row in peer.lines("snapshots", "ls") if row[-1] == "Committed"]
    where = {"snapshotter": "overlayfs", "key": "look"}
    request = m.snapshots.ViewSnapshotRequest(**where, parent=base)
    answer = m.snapshots.ViewSnapshotResponse
    viewed = asked(peer, "snapshots", "View", request, answer, lease=lease)
    assert [list(each.options) for each in viewed.mounts] == [["ro", "rbind"]]
    assert asked(peer, "snapshots", "View", request, answer, lease=lease) == "ALREADY_EXISTS"
    stat = m.snapshots.StatSnapshotRequest(**where)
    info = asked(peer, "snapshots", "Stat", stat, m.snapshots.StatSnapshotResponse).info
    assert (info.kind, info.parent) == (1, base)
    commit = m.snapshots.CommitSnapshotRequest(**where, name="looked")
    assert asked(peer, "snapshots", "Commit", commit) == "FAILED_PRECONDITION"
    asked(peer, "snapshots", "Remove", m.snapshots.RemoveSnapshotRequest(**where))
    assert asked(peer, "snapshots", "Stat", stat) == "NOT_FOUND"


def test_others_directories_are_not_unpacked_into(ours, tmp_path):
    """Only ours: containerd mounts whatever it is told, as root."""
    [digest, *_] = ours.ctr("content", "ls", "-q", namespace="default").stdout.split()
    request = m.diff.ApplyRequest(
        diff=m.types.Descriptor(digest=digest, size=1),
        mounts=[m.types.Mount(type="bind", source=str(tmp_path), options=["rw", "rbind"])],
    )
    answer = m.diff.ApplyResponse
    assert asked(ours, "diff", "Apply", request, answer, namespace="default") == "NOT_FOUND"
    assert list(tmp_path.iterdir()) == []


SPEC = {
    "ociVersion": "1.0.2",
    "process": {"cwd": "/", "args": ["true"]},
    "root": {"path": "/"},
}


def spec_with(**more):
    return json.dumps(SPEC | more).encode()


@pytest.mark.parametrize(
    "spec",
    [b"", b"{", b"[]", b"3", b"{}", b"{" * 5000, spec_with(root=[]), spec_with(root={}),
     spec_with(root={"path": "../../etc"}), spec_with(root={"path": 3}), spec_with(process=[]),
     spec_with(linux=3), spec_with(linux={"resources": {"cpu": []}}), spec_with(mounts={}),
     spec_with(ociVersion="9")],
)  # fmt: skip
def test_a_spec_that_is_none_makes_no_task(ours, spec):
    value = m.well_known.Any(type_url="types.containerd.io/x", value=spec)
    request = m.containers.CreateContainerRequest(container=container("odd", spec=value))
    asked(ours, "containers", "Create", request, m.containers.CreateContainerResponse)
    create = m.tasks.CreateTaskRequest(container_id="odd")
    answer = m.tasks.CreateTaskResponse
    assert asked(ours, "tasks", "Create", create, answer) == "INVALID_ARGUMENT"
    assert ours.status("odd") is None
    assert list((ours.engine.home.objects / "tasks").glob("*")) == []
    asked(ours, "containers", "Delete", m.containers.DeleteContainerRequest(id="odd"))


@pytest.mark.parametrize(
    ("streams", "code"),
    [
        ({"stdout": "/no/such"}, "INVALID_ARGUMENT"),
        ({"stdout": "/etc/passwd"}, "INVALID_ARGUMENT"),
        ({"stdin": "/dev"}, "INVALID_ARGUMENT"),
        ({"stdout": "binary:///bin/cat"}, "UNIMPLEMENTED"),
    ],
)
def test_streams_that_are_none_make_no_task(ours, streams, code):
    spec = m.well_known.Any(value=spec_with(), type_url="types.containerd.io/x")
    request = m.containers.CreateContainerRequest(container=container("mute", spec=spec))
    asked(ours, "containers", "Create", request, m.containers.CreateContainerResponse)
    create = m.tasks.CreateTaskRequest(container_id="mute", **streams)
    assert asked(ours, "tasks", "Create", create, m.tasks.CreateTaskResponse) == code
    asked(ours, "containers", "Delete", m.containers.DeleteContainerRequest(id="mute"))


def test_what_a_killed_server_left_of_a_task_can_be_deleted(ours):
    spec = m.well_known.Any(value=spec_with(), type_url="types.containerd.io/x")
    request = m.containers.CreateContainerRequest(container=container("half", spec=spec))
    asked(ours, "containers", "Create", request, m.containers.CreateContainerResponse)
    create = m.tasks.CreateTaskRequest(container_id="half")
    asked(ours, "tasks", "Create", create, m.tasks.CreateTaskResponse)
    assert ours.status("half") == "CREATED"
    for each in (ours.engine.home.objects / "tasks").iterdir():
        shutil.rmtree(each)
    start, answer = m.tasks.StartRequest(container_id="half"), m.tasks.StartResponse
    assert asked(ours, "tasks", "Start", start, answer) in ("INTERNAL", "UNKNOWN")
    kill = m.tasks.KillRequest(container_id="half", signal=9)
    asked(ours, "tasks", "Kill", kill)
    assert ours.status("half") == "STOPPED"
    ended = asked(
        ours, "tasks", "Delete", m.tasks.DeleteTaskRequest(container_id="half"),
        m.tasks.DeleteResponse,
    )  # fmt: skip
    assert ended.exit_status == 137
    asked(ours, "containers", "Delete", m.containers.DeleteContainerRequest(id="half"))
    assert ours.lines("containers", "ls") == []


def test_what_is_not_built_says_so(ours):
    request = m.tasks.GetRequest(container_id="x")
    assert asked(ours, "tasks", "Checkpoint", request) == "UNIMPLEMENTED"


def test_the_socket_is_this_accounts(ours):
    import os
    import stat

    told = os.stat(ours.address)
    assert stat.S_IMODE(told.st_mode) == 0o600
    assert told.st_uid == os.geteuid()
