"""cp, diff, export and commit on real containers, running and not; docker's rules, and attacks.

What docker answers was looked up with docker 28 on dockerd 20.10.
"""

import contextlib
import io
import os
import stat
import subprocess
import tarfile
import threading

import pytest

from ocimagic.errors import (
    BadInput,
    ContainerNotFound,
    InvalidOption,
    InvalidReference,
    InvalidState,
    LayerRefused,
    NotFound,
    OcimagicError,
)
from ocimagic.model.options import TmpfsMount, VolumeMount
from ocimagic.model.report import ChangeKind
from ocimagic.model.request import CommitOptions

SETUP = (
    "mkdir -p /src/in; echo a > /src/a; echo b > /src/in/b; ln -s a /src/l; ln -s /src /lsrc; "
    "ln /src/a /src/h; mkfifo /src/ff; ln -s /nowhere /dang; chmod 640 /src/a; echo up; "
    "while :; do sleep 0.05; done"
)


def run(engine, script, **options):
    options.setdefault("network", "none")
    made = engine.containers.run("busybox", ["sh", "-c", script], detach=True, **options)
    for _, _, data in engine.containers.logs(made.name, follow=True):
        if data == b"up\n":
            break
    return made.name


@pytest.fixture(scope="module", params=["running", "stopped"])
def box(request, shared):
    """A container with files to copy, in both conditions."""
    name = run(shared, SETUP)
    if request.param == "stopped":
        shared.containers.kill(name)
        shared.containers.wait(name)
    yield name
    shared.containers.remove(name, force=True)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def see(engine, name, path):
    """Return a file of a container's, whatever its condition."""
    taken = io.BytesIO()
    engine.containers.read_archive(name, path, taken.write)
    taken.seek(0)
    with tarfile.open(fileobj=taken) as tar:
        return tar.extractfile(tar.getmembers()[0]).read()


def names(engine, name, path):
    taken = io.BytesIO()
    engine.containers.read_archive(name, path, taken.write)
    taken.seek(0)
    with tarfile.open(fileobj=taken) as tar:
        return [member.name for member in tar.getmembers()]


class TestFrom:
    @pytest.mark.parametrize(
        ("path", "target", "made"),
        [
            ("/src/a", "new", "new"),
            ("src/a", "new", "new"),
            ("/src/a", "there", "there/a"),
            ("/src/a", "there/", "there/a"),
            ("/src/a", "there/.", "there/a"),
            ("/src/a", "old", "old"),
            ("/lsrc/a", "new", "new"),
            ("/src/in/../a", "new", "new"),
        ],
    )
    def test_a_file(self, path, target, made, shared, box, here):
        (here / "there").mkdir()
        (here / "old").write_text("old")
        copied = shared.containers.copy_from(box, path, target)
        assert (here / made).read_text() == "a\n"
        assert (here / made).stat().st_mode & 0o777 == 0o640
        assert copied.size_bytes > 0

    @pytest.mark.parametrize(
        ("path", "target", "made"),
        [
            ("/src", "new", "new"),
            ("/src", "new/", "new"),
            ("/src/.", "new/", "new"),
            ("/src", "there", "there/src"),
            ("/src/.", "there", "there"),
            ("/src/", "there", "there/src"),
            ("/lsrc/", "new", "new"),
        ],
    )
    def test_a_directory(self, path, target, made, shared, box, here):
        (here / "there").mkdir()
        shared.containers.copy_from(box, path, target)
        assert sorted(os.listdir(here / made)) == ["a", "ff", "h", "in", "l"]
        assert (here / made / "in" / "b").read_text() == "b\n"
        assert os.readlink(here / made / "l") == "a"
        assert (here / made / "h").stat().st_ino == (here / made / "a").stat().st_ino

    def test_a_link_stays_one_unless_asked(self, shared, box, here):
        shared.containers.copy_from(box, "/lsrc", "link")
        assert os.readlink("link") == "/src"
        shared.containers.copy_from(box, "/lsrc", "tree", follow_link=True)
        assert (here / "tree" / "a").read_text() == "a\n"
        shared.containers.copy_from(box, "/dang", "dangling")
        assert os.readlink("dangling") == "/nowhere"

    def test_a_link_here_is_followed(self, shared, box, here):
        (here / "real").write_text("old")
        os.symlink("real", "link")
        shared.containers.copy_from(box, "/src/a", "link")
        assert (here / "real").read_text() == "a\n"
        assert os.path.islink("link")

    @pytest.mark.parametrize(
        ("path", "target", "kind", "said"),
        [
            ("/nosuch", ".", NotFound, "could not find the file /nosuch in container"),
            ("/src/a/", "new", NotFound, "could not find"),
            ("/src/a", "nodir/", BadInput, "no such directory"),
            ("/src/a", "no/such", BadInput, "does not exist"),
            ("/src", "file", BadInput, "cannot copy a directory onto the file"),
            ("/proc/version", "new", NotFound, "could not find"),
        ],
    )
    def test_what_cannot_be(self, path, target, kind, said, shared, box, here):
        (here / "file").write_text("old")
        with pytest.raises(OcimagicError, match=said) as caught:
            shared.containers.copy_from(box, path, target)
        assert isinstance(caught.value, kind)
        assert (here / "file").read_text() == "old"
        assert os.listdir(here) == ["file"]

    def test_a_dangling_link_cannot_be_followed(self, shared, box, here):
        with pytest.raises(NotFound):
            shared.containers.copy_from(box, "/dang", "new", follow_link=True)

    @pytest.mark.parametrize(
        ("path", "first"),
        [("/src", "src"), ("/src/.", "."), ("/src/a", "a"), ("/lsrc", "lsrc"), ("/lsrc/", "src")],
    )
    def test_a_tar_has_dockers_names(self, path, first, shared, box):
        assert names(shared, box, path)[0] == first

    def test_owners_are_mine_unless_asked(self, shared, here):
        if os.geteuid():
            pytest.skip("needs root to give files away")
        name = run(shared, "echo x > /f; chown 1234:55 /f; echo up; sleep 100")
        shared.containers.copy_from(name, "/f", "mine")
        shared.containers.copy_from(name, "/f", "theirs", archive=True)
        assert ((here / "mine").stat().st_uid, (here / "theirs").stat().st_uid) == (0, 1234)
        shared.containers.remove(name, force=True)

    def test_device_nodes_are_left_out(self, shared, here):
        name = run(shared, "echo up; sleep 100")
        shared.containers.copy_from(name, "/dev", "dev")
        kinds = {stat.S_IFMT(os.lstat(f"dev/{each}").st_mode) for each in os.listdir("dev")}
        assert kinds <= {stat.S_IFDIR, stat.S_IFLNK}
        assert "null" in names_in_dev(shared, name)
        shared.containers.remove(name, force=True)


def names_in_dev(engine, name):
    return {os.path.basename(each) for each in names(engine, name, "/dev")}


class TestTo:
    @pytest.fixture
    def tree(self, here):
        (here / "dir" / "sub").mkdir(parents=True)
        (here / "dir" / "f").write_text("f\n")
        (here / "dir" / "sub" / "s").write_text("s\n")
        (here / "one").write_text("one\n")
        os.utime("one", (978_307_200, 978_307_200))
        os.symlink("one", "lone")
        os.symlink("dir", "ldir")
        return here

    @pytest.mark.parametrize(
        ("source", "path", "made"),
        [
            ("one", "/n1", "/n1"),
            ("one", "n2", "/n2"),
            ("one", "/etc", "/etc/one"),
            ("one", "/etc/", "/etc/one"),
            ("one", "/etc/n3", "/etc/n3"),
            ("one", "/lsrc/n4", "/src/n4"),
            ("one", "/src/l", "/src/a"),
            ("lone", "/n5", None),
        ],
    )
    def test_a_file(self, source, path, made, shared, box, tree):
        copied = shared.containers.copy_to(box, source, path)
        assert copied.size_bytes > 0
        if made is None:
            assert shared.containers.stat(box, path).link_target == "one"
            return
        assert see(shared, box, made) == b"one\n"
        assert shared.containers.stat(box, made).modified_ns == 978_307_200 * 10**9

    @pytest.mark.parametrize(
        ("source", "path", "made"),
        [
            ("dir", "/d1", "/d1"),
            ("dir/.", "/d2", "/d2"),
            ("dir", "/tmp", "/tmp/dir"),
            ("dir/.", "/tmp", "/tmp"),
            ("ldir/", "/d3", "/d3"),
        ],
    )
    def test_a_directory(self, source, path, made, shared, box, tree):
        shared.containers.copy_to(box, source, path)
        assert see(shared, box, f"{made}/sub/s") == b"s\n"

    def test_here(self, shared, box, tree):
        shared.containers.copy_to(box, ".", "/d4")
        assert see(shared, box, "/d4/dir/f") == b"f\n"

    def test_a_link_is_followed_if_asked(self, shared, box, tree):
        shared.containers.copy_to(box, "lone", "/n6", follow_link=True)
        assert see(shared, box, "/n6") == b"one\n"

    @pytest.mark.parametrize(
        ("source", "path", "kind", "said"),
        [
            ("nosuch", "/x", NotFound, "no such file: nosuch"),
            ("one/", "/x", NotFound, "no such file"),
            ("one", "/nodir/", BadInput, "no such directory"),
            ("one", "/nope/x", NotFound, "could not find the directory /nope"),
            ("dir", "/nope/x", NotFound, "could not find the directory /nope"),
            ("dir", "/src/a", BadInput, "cannot copy a directory onto"),
        ],
    )
    def test_what_cannot_be(self, source, path, kind, said, shared, box, tree):
        with pytest.raises(OcimagicError, match=said) as caught:
            shared.containers.copy_to(box, source, path)
        assert isinstance(caught.value, kind)

    def test_a_tar(self, shared, box, tree):
        tar = subprocess.run(["tar", "cz", "dir"], capture_output=True, check=True).stdout
        shared.containers.write_archive(box, "/tmp", tar)
        assert see(shared, box, "/tmp/dir/sub/s") == b"s\n"
        reader, writer = os.pipe()
        tar = subprocess.run(["tar", "c", "one"], capture_output=True, check=True).stdout
        os.write(writer, tar)
        os.close(writer)
        shared.containers.write_archive(box, "/tmp", reader)
        os.close(reader)
        assert see(shared, box, "/tmp/one") == b"one\n"

    @pytest.mark.parametrize(
        ("path", "tar", "kind", "said"),
        [
            ("/src/a", b"", BadInput, "must be a directory"),
            ("/nope", b"", OcimagicError, "directory"),
            ("/tmp", b"junk" * 200, LayerRefused, "not a valid tar"),
        ],
    )
    def test_a_tar_that_cannot_be(self, path, tar, kind, said, shared, box):
        with pytest.raises(kind, match=said):
            shared.containers.write_archive(box, path, tar)

    def test_a_file_does_not_replace_a_directory(self, shared, box, tree):
        os.rename("one", "src")
        with pytest.raises(BadInput, match="cannot overwrite the directory /src"):
            shared.containers.copy_to(box, "src", "/")
        assert shared.containers.stat(box, "/src").is_directory


class TestMounts:
    """Volumes are seen in both conditions, memory only while the container runs."""

    def test_volumes_and_memory(self, shared, tmp_path):
        tmp_path.chmod(0o777)
        (tmp_path / "in").write_text("volume\n")
        (tmp_path / "new").write_text("new\n")
        volume = VolumeMount(source=str(tmp_path), target="/vol/deep")
        memory = TmpfsMount(target="/mem")
        script = "echo memory > /mem/m; echo up; sleep 100"
        name = run(shared, script, volumes=(volume,), tmpfs=(memory,))
        assert see(shared, name, "/vol/deep/in") == b"volume\n"
        assert see(shared, name, "/mem/m") == b"memory\n"
        shared.containers.copy_to(name, str(tmp_path / "new"), "/mem/")
        assert see(shared, name, "/mem/new") == b"new\n"
        shared.containers.kill(name)
        shared.containers.wait(name)
        assert see(shared, name, "/vol/deep/in") == b"volume\n"
        shared.containers.copy_to(name, str(tmp_path / "new"), "/vol/deep/again")
        assert (tmp_path / "again").read_text() == "new\n"
        with pytest.raises(NotFound):
            see(shared, name, "/mem/m")
        shared.containers.remove(name)

    @pytest.mark.parametrize("stopped", [False, True])
    def test_what_is_read_only_stays_so(self, stopped, shared, tmp_path):
        tmp_path.chmod(0o777)
        (tmp_path / "new").write_text("new\n")
        volume = VolumeMount(source=str(tmp_path), target="/vol", read_only=True)
        name = run(shared, "echo up; sleep 100", volumes=(volume,), read_only=True)
        if stopped:
            shared.containers.kill(name)
            shared.containers.wait(name)
        for path in ("/vol/x", "/etc/x"):
            with pytest.raises(OcimagicError, match=r"(?i)read-only"):
                shared.containers.copy_to(name, str(tmp_path / "new"), path)
        assert os.listdir(tmp_path) == ["new"]
        shared.containers.remove(name, force=True)

    def test_a_file_of_the_engines_own_gets_new_content(self, shared, tmp_path):
        (tmp_path / "hosts").write_text("1.2.3.4 there\n")
        name = run(shared, "echo up; sleep 100")
        shared.containers.copy_to(name, str(tmp_path / "hosts"), "/etc/hosts")
        assert see(shared, name, "/etc/hosts") == b"1.2.3.4 there\n"
        shared.containers.remove(name, force=True)


class TestAttacks:
    """CVE-2018-15664, CVE-2019-14271, CVE-2026-42306: a container that fools cp.

    Each was seen to fail with its guard taken away: openat2 with RESOLVE_IN_ROOT in
    ``linux.paths`` replaced by a joined path.
    """

    @pytest.fixture
    def canary(self, tmp_path):
        place = tmp_path / "canary"
        place.mkdir()
        (place / "secret").write_text("secret\n")
        return place

    def test_links_lead_into_the_container(self, shared, canary, tmp_path):
        name = run(shared, f"ln -s {canary} /way; ln -s {canary}/secret /file; echo up; sleep 100")
        for path in ("/way/secret", "/way/", f"{canary}/secret"):
            with pytest.raises(NotFound):
                shared.containers.copy_from(name, path, str(tmp_path / "out"))
        with pytest.raises(NotFound):
            shared.containers.copy_from(name, "/file", str(tmp_path / "out"), follow_link=True)
        with pytest.raises(NotFound):
            shared.containers.copy_to(name, str(canary / "secret"), "/way/new")
        assert os.listdir(canary) == ["secret"]
        shared.containers.remove(name, force=True)

    def test_swapping_a_directory_for_a_link_reaches_nothing(self, shared, canary, tmp_path):
        """CVE-2018-15664: between the look and the copy the directory becomes a link out."""
        swap = (
            "echo up; while :; do mkdir /d; echo in > /d/secret; rm -r /d; "
            f"ln -s {canary} /d; rm /d; done"
        )
        name = run(shared, swap)
        (tmp_path / "evil").write_text("evil\n")
        for number in range(40):
            out = tmp_path / f"out{number}"
            try:
                shared.containers.copy_from(name, "/d/secret", str(out))
            except OcimagicError:
                pass
            else:
                assert out.read_text() == "in\n"
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(tmp_path)
                with contextlib.suppress(OcimagicError):
                    shared.containers.copy_to(name, "evil", "/d/")
        assert os.listdir(canary) == ["secret"]
        assert (canary / "secret").read_text() == "secret\n"
        shared.containers.remove(name, force=True)

    def test_nothing_of_the_containers_is_loaded_or_run(self, shared, tmp_path):
        """CVE-2019-14271: a library or a program of the image that cp would use."""
        script = (
            "mkdir -p /lib /usr/lib /encodings; for f in libnss_files.so.2 libc.so.6; do "
            "echo evil > /lib/$f; echo evil > /usr/lib/$f; done; "
            "for p in tar gzip xz unpigz; do printf '#!/bin/sh\\ntouch /ran' > /bin/$p; "
            "chmod +x /bin/$p; done; echo x > /f; echo up; sleep 100"
        )
        name = run(shared, script)
        shared.containers.copy_from(name, "/f", str(tmp_path / "f"))
        packed = subprocess.run(
            ["tar", "cz", "-C", str(tmp_path), "f"], capture_output=True, check=True
        )
        shared.containers.write_archive(name, "/tmp", packed.stdout)
        with pytest.raises(NotFound):
            shared.containers.stat(name, "/ran")
        shared.containers.remove(name, force=True)

    @pytest.mark.parametrize("entry", ["../out", "a/../../out", "/../out"])
    def test_a_tar_cannot_name_what_is_outside(self, entry, shared, box):
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as tar:
            tar.addfile(tarfile.TarInfo(entry))
        with pytest.raises(LayerRefused):
            shared.containers.write_archive(box, "/tmp", raw.getvalue())

    def test_a_tar_with_links_stays_inside(self, shared, box, canary):
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as tar:
            link = tarfile.TarInfo("way")
            link.type, link.linkname = tarfile.SYMTYPE, str(canary)
            tar.addfile(link)
            file = tarfile.TarInfo("way/evil")
            file.size = 4
            tar.addfile(file, io.BytesIO(b"evil"))
        shared.containers.write_archive(box, "/tmp", raw.getvalue())
        assert os.listdir(canary) == ["secret"]
        assert see(shared, box, f"{canary}/evil") == b"evil", "it is inside, where the link leads"

    def test_files_that_change_while_they_are_copied(self, shared, tmp_path):
        change = "echo more >> /log; : > /log; rm -rf /t; mkdir -p /t/a/b"
        script = f"echo up; while :; do {change}; done"
        name = run(shared, script)
        for number in range(15):
            shared.containers.read_archive(name, "/", lambda _: None)
            try:
                shared.containers.copy_from(name, "/t", str(tmp_path / f"t{number}"))
            except NotFound:
                continue
        shared.containers.remove(name, force=True)

    def test_many_at_once_leave_nothing_open(self, shared, box, tmp_path, no_leaks):
        def copy(number):
            shared.containers.copy_from(box, "/src", str(tmp_path / f"c{number}"))

        threads = [threading.Thread(target=copy, args=(number,)) for number in range(6)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert len(os.listdir(tmp_path)) == 6


class TestDiff:
    def lines(self, engine, name):
        return [f"{each.kind.value} {each.path}" for each in engine.containers.diff(name)]

    @pytest.mark.parametrize(
        ("script", "changes"),
        [
            ("true", []),
            (": >> /etc/passwd", []),
            ("touch /home/t; rm /home/t", []),
            ("cat /etc/passwd > /t; cat /t > /etc/passwd; rm /t", ["C /etc", "C /etc/passwd"]),
            ("echo x >> /etc/passwd", ["C /etc", "C /etc/passwd"]),
            ("chmod 711 /root", ["C /root"]),
            ("rm /etc/passwd", ["C /etc", "D /etc/passwd"]),
            ("mkdir -p /n/e; touch /n/e/w", ["A /n", "A /n/e", "A /n/e/w"]),
            ("mv /bin/ls /bin/ls2", ["C /bin", "D /bin/ls", "A /bin/ls2"]),
            ("rm /etc/passwd; mkdir /etc/passwd; touch /etc/passwd/x",
             ["C /etc", "C /etc/passwd", "A /etc/passwd/x"]),
            ("rm -rf /home; mkdir /home; touch /home/c",
             ["C /home", "A /home/c"]),
            ("rm -rf /tmp; ln -s /home /tmp", ["C /tmp"]),
            ("echo x >> /etc/hosts; touch /dev/x /dev/shm/y", []),
            ("touch /etc/new", ["C /etc", "A /etc/new"]),
        ],
    )  # fmt: skip
    def test_only_real_changes(self, script, changes, shared):
        made = shared.containers.run(
            "busybox", ["sh", "-c", script], network="none", name="changed"
        )
        found = self.lines(shared, "changed")
        shared.containers.remove("changed")
        assert made.exit_code == 0, made.stderr
        assert found == changes

    def test_a_directory_removed_and_made_anew(self, shared):
        """docker leaves out what was in it; we do not."""
        shared.containers.run(
            "busybox", ["sh", "-c", "mkdir /d; touch /d/a /d/b /d/c"], network="none", name="first"
        )
        shared.containers.commit("first", CommitOptions(reference="three"))
        shared.containers.remove("first")
        script = "rm -rf /d; mkdir /d; touch /d/b /d/new"
        shared.containers.run("three", ["sh", "-c", script], network="none", name="second")
        found = self.lines(shared, "second")
        shared.containers.remove("second")
        shared.images.remove("three")
        assert found == ["C /d", "D /d/a", "C /d/b", "D /d/c", "A /d/new"]

    def test_a_running_container(self, shared):
        name = run(shared, "touch /new; echo up; while :; do sleep 0.05; done")
        assert self.lines(shared, name) == ["A /new"]
        shared.containers.remove(name, force=True)

    def test_places_for_volumes_are_changes_as_in_docker(self, shared, tmp_path):
        volume = VolumeMount(source=str(tmp_path), target="/a/b")
        name = run(shared, "echo up; sleep 100", volumes=(volume,))
        assert self.lines(shared, name) == ["A /a", "A /a/b"]
        shared.containers.remove(name, force=True)

    def test_odd_names(self, shared):
        script = "touch '/new\nline' /$(printf '\\377') /.wh.x; echo up; sleep 100"
        name = run(shared, script)
        paths = {each.path for each in shared.containers.diff(name)}
        assert paths == {"/new\nline", "/\udcff", "/.wh.x"}
        shared.containers.remove(name, force=True)


class TestExport:
    def test_the_whole_root_without_mounts(self, shared, box):
        taken = io.BytesIO()
        size = shared.containers.export(box, taken.write)
        assert size == taken.tell()
        taken.seek(0)
        with tarfile.open(fileobj=taken) as tar:
            found = {member.name.removeprefix("./"): member for member in tar.getmembers()}
        assert found["src/in/b"].size == 2
        assert found["src/l"].linkname == "a"
        assert found["bin/busybox" if "bin/busybox" in found else "bin/sh"]
        assert not [each for each in found if each.startswith(("proc/", "sys/", "dev/pts"))]

    def test_it_can_be_run_again(self, shared, box, tmp_path):
        """What export gives is a root: a bundle made of it has the same files."""
        with (tmp_path / "all.tar").open("wb") as file:
            shared.containers.export(box, file.write)
        (tmp_path / "root").mkdir()
        subprocess.run(
            ["tar", "xf", tmp_path / "all.tar", "-C", tmp_path / "root", "--no-same-owner",
             "--exclude=ff"],
            check=True,
        )  # fmt: skip
        assert (tmp_path / "root/src/in/b").read_text() == "b\n"

    def test_a_listener_that_fails_leaves_nothing(self, shared, box, no_leaks):
        def full(_):
            raise OSError(28, "No space left on device")

        with pytest.raises(OSError, match="No space"):
            shared.containers.export(box, full)


class TestCommit:
    def test_an_image_that_runs(self, shared):
        name = run(shared, "echo kept > /kept; rm /etc/passwd; echo up; sleep 100",
                   env=("OWN=1",), labels={"a": "1"})  # fmt: skip
        made = shared.containers.commit(
            name,
            CommitOptions(
                reference="committed:1",
                author="kim",
                message="why",
                changes=('CMD ["cat", "/kept"]', "ENV MORE=$OWN-2", "LABEL b=2", "WORKDIR /srv"),
            ),
        )
        shared.containers.remove(name, force=True)
        assert made.reference == "committed:1"
        image = shared.images.inspect("committed:1")
        assert (image.image_id, image.config.author) == (made.image_id, "kim")
        config = image.config.config
        assert {"OWN=1", "MORE=1-2"} <= set(config.env)
        assert not [each for each in config.env if each.startswith("HOSTNAME=")]
        assert dict(config.labels) == {"a": "1", "b": "2"}
        assert config.working_dir == "/srv"
        newest = shared.images.history("committed:1")[0]
        assert (newest.comment, newest.created_by.startswith("sh -c echo kept")) == ("why", True)
        assert image.base_digest
        done = shared.containers.run("committed:1", network="none", remove=True)
        assert done.stdout == b"kept\n"
        done = shared.containers.run(
            "committed:1", ["ls", "/etc/passwd"], network="none", remove=True
        )
        assert done.exit_code != 0
        shared.images.remove("committed:1")

    def test_only_changes_are_in_the_layer(self, shared):
        name = run(shared, "echo new > /etc/new; : >> /etc/passwd; echo up; sleep 100")
        shared.containers.commit(name, CommitOptions(reference="small"))
        shared.containers.remove(name, force=True)
        done = shared.containers.run("small", ["cat", "/etc/hostname"], network="none", name="look")
        assert done.exit_code == 0
        upper = shared.images.inspect("small").layers[-1]
        assert upper.size_bytes == 4
        shared.containers.remove("look")
        shared.images.remove("small")

    def test_nothing_changed_makes_no_layer(self, shared):
        shared.containers.run("busybox", ["true"], network="none", name="idle")
        before = len(shared.images.inspect("busybox").layers)
        shared.containers.commit("idle", CommitOptions(reference="same"))
        assert len(shared.images.inspect("same").layers) == before
        assert shared.containers.run("same", ["true"], network="none", remove=True).exit_code == 0
        shared.containers.remove("idle")
        shared.images.remove("same")

    def test_twice_stacks(self, shared):
        for number, image in enumerate(["busybox", "stack:1", "stack:2"]):
            done = shared.containers.run(
                image, ["sh", "-c", f"ls /; echo {number} > /n{number}"], network="none", name="st"
            )
            assert done.exit_code == 0
            shared.containers.commit("st", CommitOptions(reference=f"stack:{number + 1}"))
            shared.containers.remove("st")
        done = shared.containers.run(
            "stack:3", ["sh", "-c", "cat /n0 /n1 /n2"], network="none", remove=True
        )
        assert done.stdout == b"0\n1\n2\n"
        shared.images.remove("stack:1", "stack:2", "stack:3")

    def test_without_a_name(self, shared):
        shared.containers.run("busybox", ["touch", "/x"], network="none", name="nameless")
        made = shared.containers.commit("nameless", CommitOptions())
        assert made.reference == ""
        assert shared.images.inspect(str(made.image_id)).tags == ()
        shared.containers.remove("nameless")
        shared.images.remove(str(made.image_id))

    @pytest.mark.parametrize(
        ("options", "kind", "said"),
        [
            ({"reference": "BAD NAME"}, InvalidReference, "BAD NAME"),
            ({"changes": ("RUN x",)}, InvalidOption, "not a valid change"),
            ({"changes": ("FOO x",)}, InvalidOption, "FOO"),
            ({"changes": ("",)}, InvalidOption, "not a valid change"),
            ({"changes": ("CMD a\nCMD b",)}, InvalidOption, "not a valid change"),
            ({"changes": ("EXPOSE http",)}, InvalidOption, "EXPOSE"),
        ],
    )
    def test_what_cannot_be(self, options, kind, said, shared, box):
        before = shared.images.list()
        with pytest.raises(kind, match=said):
            shared.containers.commit(box, CommitOptions(**options))
        assert shared.images.list() == before


@pytest.mark.parametrize(
    "verb",
    [
        lambda c: c.diff("nosuch"),
        lambda c: c.export("nosuch", print),
        lambda c: c.commit("nosuch", CommitOptions()),
        lambda c: c.copy_from("nosuch", "/a", "."),
        lambda c: c.copy_to("nosuch", ".", "/a"),
        lambda c: c.stat("nosuch", "/"),
    ],
)
def test_unknown_names_are_said(verb, shared):
    with pytest.raises(ContainerNotFound, match="no such container: nosuch"):
        verb(shared.containers)


def test_kinds_are_dockers_letters():
    assert [kind.value for kind in ChangeKind] == ["C", "A", "D"]
    assert issubclass(InvalidState, OcimagicError)


# -- names ---------------------------------------------------------------------


def test_a_directory_is_listed_as_the_container_sees_it(shared, box):
    listed = shared.containers.names(box, "/src")
    mine = [each for each in listed if each != "n4"]  # another test may have copied that there
    assert mine == ["a", "ff", "h", "in/", "l"]
    assert shared.containers.names(box, "src/") == listed, "relative paths begin at its root"
    assert shared.containers.names(box, "/lsrc") == listed, "a link is followed, inside"
    assert "src/" in shared.containers.names(box, "/")
    assert len(shared.containers.names(box, "/src", limit=2)) == 2


@pytest.mark.parametrize("path", ["/nowhere", "/src/a", "/dang"])
def test_what_is_no_directory_is_told(shared, box, path):
    with pytest.raises(NotFound, match=f"could not list the directory {path}"):
        shared.containers.names(box, path)
