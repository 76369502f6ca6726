"""One value of every kind that a command gives back."""

import remote_samples
import samples
from samples import NOW, digest

from ocimagic.model.accounts import Accounts, ImageLine, LayerAccount, Wasted
from ocimagic.model.archive import Adoptable, AdoptableImage, Adopted
from ocimagic.model.built import BuildChecked, BuildWarning
from ocimagic.model.difference import Difference, FileDifference, ImageDiff
from ocimagic.model.explanation import Explanation, Party, Step
from ocimagic.model.explored import Explored, ExploredFile, HistoryStep, Touch
from ocimagic.model.insides import (
    BundleView,
    ContainerNamespaces,
    NamespaceView,
    ProcessView,
)
from ocimagic.model.overview import Overview
from ocimagic.model.own_layer import ContainerLayers, OwnChange
from ocimagic.model.report import (
    Bootstrapped,
    CachePruned,
    ChangeKind,
    Committed,
    Copied,
    ExecResult,
    Fault,
    FileChange,
    ImagesPruned,
    ProcessTable,
    Pruned,
    SystemPruned,
    Verified,
)
from ocimagic.model.result import ExitStatus, LayerReport, LoggedIn, LoggedOut
from ocimagic.model.system_event import SystemEvent
from ocimagic.model.volume import VolumesPruned


def layers():
    return (
        samples.layer("root", 67_800_000, "ADD rootfs.tar /", base=True),
        samples.layer("app1", 2_310, "COPY app.py /srv/app.py"),
    )


def account(added=("srv", "srv/app.py"), changed=(), deleted=()):
    return LayerAccount(
        created_by="COPY app.py /srv/app.py",
        added=added,
        changed=changed,
        deleted=deleted,
        shipped_bytes=10,
        wasted=(Wasted(path="srv/app.py", size_bytes=5, by=1),),
    )


def one_image(name="web:1", text="COPY app.py /srv/app.py"):
    root, app = layers()
    empty = samples.layer("empty", 0, "RUN true")
    lines = (
        ImageLine(number=1, created_by="ADD rootfs.tar /", from_base=True, layer=0,
                  size_bytes=67_800_000, account=account(("bin", "bin/sh", "etc/passwd"))),
        ImageLine(number=2, created_by="ENV A=1", from_base=False),
        ImageLine(number=3, created_by=text, from_base=False, layer=1, size_bytes=2_310,
                  account=account((), changed=("etc/passwd",), deleted=("bin/sh",))),
        ImageLine(number=4, created_by="RUN true", from_base=False, layer=2, account=account(())),
    )  # fmt: skip
    return LayerReport(
        images=((name, (root, app, empty)),),
        total_bytes=67_802_310,
        stored_bytes=67_802_310,
        lines=lines,
    )


def own_layer(name="web", path="/srv/app.py"):
    return ContainerLayers(
        container_id=digest("web").hex,
        name=name,
        image="web:1",
        layers=layers(),
        changes=(
            OwnChange(kind=ChangeKind.CHANGED, path="/srv", is_directory=True, below=1),
            OwnChange(kind=ChangeKind.CHANGED, path=path, size_bytes=2_400, below=1,
                      copied_bytes=2_310),
            OwnChange(kind=ChangeKind.CHANGED, path="/etc/new", size_bytes=7, below=0),
            OwnChange(kind=ChangeKind.DELETED, path="/etc/motd", below=0),
            OwnChange(kind=ChangeKind.ADDED, path="/tmp/x", size_bytes=12),
        ),
    )  # fmt: skip


def difference():
    return ImageDiff(
        names=("web:1", "web:2"),
        image_ids=(digest("web:1"), digest("web:2")),
        config=(Difference(what="config.Env", old="A=1", new="A=2"),),
        layers=((1, digest("app1"), digest("app2")),),
        files=(
            FileDifference(path="/a", differences=(Difference(what="size", old="1", new="2"),)),
        ),
        stacks=samples.report(),
    )


def accounts():
    return Accounts(image="web:1", layers=(account(), account(deleted=("srv/app.py",))))


def pruned():
    return Pruned(containers=("ab" * 32,), freed_bytes=7)


def verified():
    return Verified(
        images=2, checked_bytes=9, faults=(Fault(image="a", digest=digest("a"), what="is gone"),)
    )


def bootstrapped():
    return Bootstrapped(
        image_id=digest("debian"),
        tags=("debian:bookworm",),
        packages=("bash 5.2",),
        mirrors=("http://mirror.example bookworm",),
        signed_by=("A" * 40,),
        fetched_bytes=1,
        size_bytes=2,
        cached=False,
        seconds=3.0,
    )


def adoptable():
    image = AdoptableImage(
        image_id=digest("a"), tags=("web:1",), created=NOW, size_bytes=5, is_here=False
    )
    return Adoptable(source="docker", images=(image,))


def namespaces(name="web"):
    return ContainerNamespaces(
        container_id=digest("web").hex,
        name=name,
        pid=4711,
        namespaces=(NamespaceView(kind="net", inode=4026532, is_own=True, containers=("db",)),),
        cgroups={"": "/ocimagic/web"},
        processes=(ProcessView(pid=4711, pid_inside=1, command="sh"),),
        mounts=9,
    )


def bundle(name="web"):
    return BundleView(
        container_id=digest("web").hex,
        name=name,
        path="/data/web/bundle",
        files=("config.json", "rootfs/"),
        config={"ociVersion": "1.2.0"},
    )


def explanation():
    """A story of one step."""
    step = Step(party=Party.DAEMON, to=Party.CONTAINERD, title="create container web", at_s=0.0)
    return Explanation(kind="container", name="web", line="docker run busybox", began="2026",
                       seconds=1.0, ending="exit code 0", steps=(step,))  # fmt: skip


def explored():
    touches = (Touch(0, "A"), Touch(1, "M"))
    file = ExploredFile("etc/passwd", "f", 0o644, 0, 0, 5, "", touches, (1, 0))
    folder = ExploredFile("etc", "d", 0o755, 0, 0, 0, "", touches[:1])
    steps = (HistoryStep(created_by="ADD rootfs.tar /", layer=0),
             HistoryStep(created_by="RUN adduser app", layer=1))  # fmt: skip
    return Explored(steps=steps, accounts=accounts(), files=(folder, file))


def overview():
    runs = samples.container()
    stats = {runs.container_id: samples.stats()}
    return Overview(taken=NOW, containers=(runs, samples.exited()), stats=stats)


VALUES = [
    explored(),
    explored().tree(),
    overview(),
    SystemEvent("container", "start", digest("web").hex, {"name": "web"}, 1_774_094_400 * 10**9),
    namespaces(),
    explanation(),
    bundle(),
    samples.image(),
    samples.container(),
    samples.history()[0],
    samples.layer("x", 1, "RUN x"),
    remote_samples.hit(),
    remote_samples.tree(),
    ExitStatus(code=3, signal=None, finished=NOW),
    samples.stats(),
    FileChange(ChangeKind.ADDED, "/a"),
    {"a": [1]},
    samples.image_details(),
    samples.container_details(),
    samples.report(),
    one_image(),
    samples.pull_result(),
    samples.push_result(),
    remote_samples.copied(),
    remote_samples.listing(),
    remote_samples.referrers(),
    remote_samples.manifest_list(),
    remote_samples.list_pushed(),
    LoggedIn(registry="docker.io", username="me", kept_in="f", is_readable=True),
    LoggedOut(registry="docker.io", was_there=True),
    BuildChecked(warnings=(BuildWarning(rule="R", message="m", line=1, url="u"),)),
    samples.build_result(),
    samples.stages_result(),
    samples.run_result(),
    samples.removed(),
    ProcessTable(("PID", "CMD"), (("1", "sh"),)),
    pruned(),
    samples.images_pruned(),
    CachePruned(steps=2, freed_bytes=3),
    SystemPruned(
        containers=pruned(),
        images=ImagesPruned(untagged=(), deleted=(), freed_bytes=0),
        cache=CachePruned(steps=0, freed_bytes=0),
    ),
    VolumesPruned(volumes=("data",), freed_bytes=1),
    verified(),
    difference(),
    accounts(),
    samples.disk_usage(),
    Copied(source="a", target="b", size_bytes=1),
    Committed(image_id=digest("a"), reference="web:2", size_bytes=1),
    bootstrapped(),
    samples.saved(),
    samples.loaded(),
    adoptable(),
    Adopted(source="docker", loaded=samples.loaded(), known=(), received_bytes=1, seconds=1.0),
    samples.imported(),
    ExecResult(container_id="a", name="web", exit_code=0, stdout=b"hi\n", stderr=b"",
               duration_s=0.1),
    samples.system_info(),
    own_layer(),
    samples.network_map(),
    samples.diagnosis(),
]  # fmt: skip
