"""Dockerfiles and contexts thought up at random, of what docker 20.10's builder knows and means.

What that builder does otherwise by its age, or we by choice, is not among the words; the cases
of ``tests/dockerfiles`` say what that is, each in its ``docker.differs``.
"""

import io
import json
import os
import random
import tarfile

DAY = 1_600_000_000
FILE, FOLDER, LINK, HARD = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


def words(text):
    return text.split()


# What the image has before: name, kind, mode, owner, text or target.
IMAGE = [
    ("i", FOLDER, 0o755, 0, ""), ("i/dir", FOLDER, 0o700, 5, ""),
    ("i/dir/old", FILE, 0o600, 5, "old"), ("i/dir/sub", FOLDER, 0o711, 6, ""),
    ("i/dir/sub/deep", FILE, 0o644, 0, "deep"), ("i/dir/back", LINK, 0o777, 0, "../dir"),
    ("i/file", FILE, 0o640, 7, "file"), ("i/hard", HARD, 0o640, 7, "i/file"),
    ("i/todir", LINK, 0o777, 0, "dir"), ("i/absdir", LINK, 0o777, 0, "/i/dir"),
    ("i/tofile", LINK, 0o777, 0, "file"), ("i/dangling", LINK, 0o777, 0, "made"),
    ("i/absdangling", LINK, 0o777, 0, "/i/no/such"), ("i/chain", LINK, 0o777, 0, "todir"),
    ("i/up", LINK, 0o777, 0, "../../../i/dir/sub"), ("i/loop", LINK, 0o777, 0, "loop"),
    ("i/a", FOLDER, 0o755, 0, ""), ("i/a/b", FOLDER, 0o755, 0, ""),
    ("i/a/b/c", FILE, 0o4755, 1, "c"), ("i/sticky", FOLDER, 0o1777, 0, ""),
    ("i/empty", FOLDER, 0o500, 8, ""), ("i/setgid", FOLDER, 0o2775, 9, ""),
]  # fmt: skip
NAMES = words("""a b ab d/a d/b d/e/a .dot d/.dot x·y d/x·y q'q q"q ü d/ü n↵l [a] a* q? b\\s $S
-dash file old dir/old dir/sub/n sub e/f/g ~ #h tofile""")
TARGETS = words("a d ../a d/e no . dir/sub b l0 l1 e/f")
PACKED = words("a b dir/ dir/x dir/sub/ ./c /abs/f file sub/z link s/t/u ..name")
SOURCES = words("""a b d d/ d/a d/* * ? [ab] . ./d d/. d/.. ../a ../../d /a /d/ d/e d//a d/e/..
a* [^a] [a-d]* d/? .d* \\a q* l0 l1 l* d/l* e e/f e/f/g e/* dir dir/sub file h0 h* $S ${S} $D/a
${N:-d} [[]a] a\\* no no/* d/no a/ todir -dash ~ d/ü #h""")
IN_IMAGE = words("""/i /i/ /i/dir /i/dir/ /i/file i/file /i/* /i/todir /i/todir/old /i/absdir
/i/tofile /i/dangling /i/absdangling /i/chain /i/chain/old /i/up /i/loop /i/hard /i/[fh]*
/i/todir/* /i/todir/../file /i/*/old /i/a/b/c /i/a /i/empty /i/sticky /i/setgid /no .
/etc/passwd""")
PLACES = words("""/n /n/ /n/m /n/m/ n n/ . ./ .. ../ ../n / /i /i/ /i/dir /i/dir/ /i/file
/i/todir /i/todir/ /i/todir/new /i/absdir /i/absdir/x/ /i/tofile /i/dangling /i/dangling/
/i/dangling/z /i/absdangling/ /i/chain /i/chain/back/ /i/up /i/up/new /i/loop /i/hard /i/a/b/c
/i/a/b /i/sticky /i/setgid/k/ /i/dir/sub/../q/ /i/todir/../q /i//dir//new //n $D /$S/ /i/$D ~
/i/dir/old /i/file/""")
WORKDIRS = words("""/w /i/dir /i/todir w / /i/absdir/sub /$D /i/chain .. w/../v /w/
/i/absdangling /i/dangling/x /i/file /i/loop . /i/up/u /i/setgid/w""")
OWNERS = words("1:2 3 app app:wheel :wheel root:staff 1000:staff app:0 $U 0 :5")
COMMANDS = [
    "rm -rf /i/dir", "rm -rf /i/dir && mkdir /i/dir", "rm /i/file && mkdir /i/file",
    "rm -rf /i/dir && echo f > /i/dir", "mv /i/dir /i/moved", "mv /i/dir /i/x && mkdir /i/dir",
    "ln /i/file /i/hard2", "chmod 4711 /i/a/b/c", "chmod 1777 /i/dir", "chown -R 8:9 /i/a",
    "touch -d '2001-01-01 00:00:00' /i/file", "chown -h 5:5 /i/todir", "echo more >> /i/hard",
    "rm /i/todir && mkdir /i/todir && echo 1 > /i/todir/q", "rm -rf /i/a/b && ln -s ../dir /i/a/b",
    "mkfifo /i/pipe", "cp -a /i /i2", "rm -rf /i/*", "mv /i /j", "cd /i && rm hard && ln file hard",
    "cd /i && mv dir dir2 && ln -s dir2 dir", "chmod 711 /i", "mkdir -m 2755 /g && mkdir /g/x",
    "id -u > /who; pwd >> /who; env | sort | grep -v HOSTNAME >> /who", "umask > /um", "exit 3",
    "echo $A $B > /ab", "mv /i/dir/old /i/file", "find /i | sort > /found", "rm -rf /tmp", "nosuch",
]  # fmt: skip
MOUNTS = words("""type=bind,source=d,target=/i/dir type=bind,source=a,target=/i/file,rw
target=/i/dir type=bind,from=before,source=/i/todir,target=/i/a
type=bind,source=l0,target=/i/dir type=bind,source=d/,target=/i/todir
type=bind,source=no,target=/i/dir type=tmpfs,target=/i/dir type=bind,source=../d,target=/i/dir
type=bind,source=a,target=/i/dir""")
SEEN = [
    "find /i | sort > /found", "ls -lan /i/dir/ | awk '{print $1,$3,$4,$9}' > /l",
    "cat /i/dir/a /i/file /i/a/old > /c 2>&1 || true", "echo x > /i/dir/w; echo $? > /rc",
    "stat -c '%a %u %g %h %F' /i/dir /i/a /i/file > /st", "mv /i/dir /i/z; echo $? > /rc",
]  # fmt: skip
VALUES = words(r"""x $A ${A} "$A" '$A' \$A "a·b" 'a·b' a\·b "a\"b" 'a"b' ${A:-d} ${N:-$A}
${A:+y} ${N:+y} "${N:-a·b}" ${N:-'a·b'} x$A$B $A.y ${A}y $Ay \\ a\b "a\b" 'a\b' "" a=b = $ $$
$1 ${N:-${B:-z}} a$ "\$A" \" ü a"b·c"d "a"'b' `x` $(x) {x} ${A}} a#b <x> & ${A:-} ${N:-\}} %A%
a;b""")
WORDS = [
    '["a"]', '["a", "b c"]', "[]", '["$A"]', "['a']", '["a\\"b"]', "a b", 'echo $A "x y"',
    "  a   b  ", "[1]", '[""]', "a \\\n  b", "a # c", '{"a":1}', '["</a>&"]',
]  # fmt: skip
TRIGGERS = ["ENV O=$A", "COPY a /o/", "ADD t.tar o", "WORKDIR o", "LABEL o=$A", 'CMD ["o"]']
PORTS = words("80 80/tcp 80/UDP 8000-8003 $P ${P:-90} 80:81 65536 x 80/foo 80-79 90-95:80")
CHECKS = ["NONE", "CMD true", "--interval=5s CMD a b", "--interval=1us CMD a", "CMD", "FOO x",
          'CMD ["a", "$A"]', "--timeout=1m30s --retries=3 CMD a", "--interval=5 CMD x"]  # fmt: skip
IGNORED = words(r"""a /a d d/ d/a * */a d/* !a !d/a e e/f ·a· / ./a d/../a ? [ab] [^a] [a-c]*
\#h #h .dot .* l* d/l* x·y *y ü $S !·a ! q* /d/e/ dir/sub d//a */* [ -dash a* [[]a] d/./a ~
d/e*""")


class RandomCase:
    """A Dockerfile of one theme, in the form of `corpus.Case`.

    Args:
        theme: which ``_theme`` below.
        seed: equal seeds, equal cases.
    """

    file = "Dockerfile"

    def __init__(self, theme, seed):
        self.name = f"{theme}{seed}"
        self.build = {}
        self.ignored = None
        self.random = random.Random(self.name)
        self.pick = self.random.choice
        lines = getattr(self, f"_{theme}")()
        self.text = "\n".join(lines) + "\n"

    def lay_out(self, room):
        """Write the context into a new directory; each time the same."""
        lay_out(room, random.Random(f"context of {self.name}"))
        (room / self.file).write_text(self.text)
        if self.ignored is not None:
            (room / ".dockerignore").write_text(self.ignored)

    def _some(self, make, *counts):
        return [make() for _ in range(self.pick(counts))]

    def _copy_line(self, stages=("before",)):
        word = self.pick(["COPY", "COPY", "COPY", "ADD"])
        flags, sources, chance = [word], SOURCES, self.random.random
        if word == "COPY" and chance() < 0.3:
            flags.append(f"--from={self.pick(stages)}")
            sources = IN_IMAGE
        if chance() < 0.2:
            flags.append(f"--chown={self.pick(OWNERS)}")
        words = [*self._some(lambda: self.pick(sources), 1, 1, 1, 2, 3), self.pick(PLACES)]
        text = json.dumps(words) if chance() < 0.2 else " ".join(words)
        return " ".join([*flags, text])

    def _copy(self):
        env = self.pick(["ENV D=d S=a U=app", "ARG D=dir", "ENV S='$S' U=3:4", "ARG S=b"])
        workdirs = self._some(lambda: f"WORKDIR {self.pick(WORKDIRS)}", 0, 1, 1, 2)
        return ["FROM before", env, *workdirs, *self._some(self._copy_line, 1, 1, 2, 3)]

    def _add(self):
        sources = ["t.tar", "d/t.tgz", "t.tar a", "a t.tar", "d", "*.tar", "t.tar d/t.tgz", "d/*"]

        def line():
            owner = self.pick(["", "", f"--chown={self.pick(OWNERS)} "])
            return f"ADD {owner}{self.pick(sources)} {self.pick(PLACES)}"

        return ["FROM before", *self._some(line, 1, 1, 2)]

    def _run(self):
        def line():
            kind = self.pick(["RUN", "RUN", "RUN", "json", "other", "copy"])
            if kind == "copy":
                return self._copy_line()
            if kind == "other":
                return self.pick(["USER app", "USER 5:6", "USER nosuch", "ENV A=1", "ARG A=1",
                                  "ENV B='a b'", "VOLUME /i/dir", "WORKDIR /i/todir"])  # fmt: skip
            command = self.pick(COMMANDS)
            return "RUN " + (json.dumps(["sh", "-c", command]) if kind == "json" else command)

        self.build = self.pick([{}, {"args": {"A": "x y"}}, {"args": {"http_proxy": "http://p:1"}}])
        return ["FROM before", *self._some(line, 1, 2, 3)]

    def _mount(self):
        line = lambda: f"RUN --mount={self.pick(MOUNTS)} {self.pick(SEEN)}"  # noqa: E731
        return ["FROM before", *self._some(line, 1, 1, 2), "RUN find /i | sort > /found2"]

    def _stages(self):
        lines, names = ["ARG BASE=before"], []
        for name in ("one", "two", "last")[: self.pick([2, 3])]:
            lines.append(f"FROM {self.pick(['before', '$BASE', 'scratch', *names])} AS {name}")
            places = [*names, *map(str, range(len(names))), "before"]
            for _ in range(self.pick([1, 2, 3])):
                copy = self._copy_line(places)
                other = self._config_line()
                lines.append(self.pick([copy, copy, other, f"ONBUILD {self.pick(TRIGGERS)}"]))
            names.append(name)
        self.build = self.pick([{}, {"target": self.pick(names)}, {"args": {"BASE": "base"}}])
        return lines

    def _ignore(self):
        rules = self._some(lambda: self.pick(IGNORED), 1, 2, 3, 4)
        self.ignored = "".join(rule.replace("·", " ") + "\n" for rule in rules)
        return ["FROM scratch", f"COPY {self.pick(['.', '.', '.', 'd', 'd/', 'e', 'd/a'])} /x/"]

    def _config_line(self):
        pick = self.pick
        pair = f"{pick(['A', 'B', 'C', 'PATH', 'a.b', '_x'])}={pick(VALUES)}"
        line = pick([
            f"ENV {pair}", f"ENV {pair} D={pick(VALUES)}", f"ENV E {pick(VALUES)}  y ",
            f"LABEL {pair}", f"LABEL l {pick(VALUES)}", f"ARG G={pick(VALUES)}", "ARG N",
            f"CMD {pick(WORDS)}", f"ENTRYPOINT {pick(WORDS)}", 'SHELL ["/bin/sh", "-ec"]',
            f"EXPOSE {pick(PORTS)} {pick(PORTS)}", f"HEALTHCHECK {pick(CHECKS)}",
            "VOLUME " + pick(["/v /w", '["/v", "/x y"]', "$A", '"/v"', '[""]', "/a\\ b", "[/v]"]),
            "USER " + pick(["app", "5:6", "$A", "${A}:x", '"app"', "a b", "${N:-u}", "$M"]),
            "WORKDIR " + pick(["/w", "w", "/$A/x", '"/q q"', "/q q", "/w/", "..", "/a//b", "$M"]),
            "STOPSIGNAL " + pick(["TERM", "9", "$SG", "sigint", "SIGRTMIN+3", "SIGFOO", '"9"']),
            "MAINTAINER " + pick(["me", "$A", '"q"']),
        ])  # fmt: skip
        return line.replace("·", " ").rstrip()

    def _config(self):
        first = self.pick(["FROM before", "FROM scratch", "ARG G=gg\nFROM before"])
        env = self.pick(["ENV A=1 B=two P=99 SG=INT", "ENV A='a b' B=/b", "ENV A=/x", "ARG P=7"])
        self.build = self.pick([{}, {}, {"args": {"N": "nn", "G": "$A"}}])
        return [first, env, *self._some(self._config_line, 1, 2, 3, 4)]


def lay_out(room, chance):
    """Write files, links and archives of odd names and modes into a new directory."""
    pick = chance.choice
    room.mkdir(parents=True)
    room.chmod(0o755)
    for name in ["a", "d/a", *chance.sample(NAMES, chance.randint(3, 12))]:
        path = room / name.replace("·", " ").replace("↵", "\n")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(pick(["", "1", "22", name]))
    for number in range(pick([0, 1, 2, 3])):
        where = pick([room, room / "d"]) / f"l{number}"
        where.symlink_to(pick(TARGETS))
    if chance.random() < 0.4:
        (room / "h0").hardlink_to(room / "a")
        (pick([room, room / "d"]) / "h1").hardlink_to(room / "d/a")
    (room / "t.tar").write_bytes(archive(chance, "w"))
    (room / "d/t.tgz").write_bytes(archive(chance, pick(["w:bz2", "w:xz"])))
    for path in sorted(room.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.chmod(pick([0o755, 0o755, 0o700, 0o711, 0o1777, 0o2755, 0o500]))
        elif not path.is_symlink():
            path.chmod(pick([0o644, 0o644, 0o600, 0o755, 0o4755, 0o2711, 0o1644, 0]))
        when = DAY + chance.randrange(1000)
        os.utime(path, (when, when), follow_symlinks=False)


def archive(chance, mode):
    """Return a tar of a few entries, no name twice."""
    names = chance.sample(PACKED, chance.randint(1, 5))
    entries, files = [], []
    for name in names:
        kind = FOLDER if name.endswith("/") else chance.choice([FILE, FILE, LINK, HARD])
        if kind == HARD and files:
            entries.append((name, HARD, *chance.choice(files)))
            continue
        bits = chance.choice([0o644, 0o600, 0o755, 0o4755, 0o2755, 0o1777, 0])
        text = {FILE: "x", FOLDER: ""}.get(kind, chance.choice(["a", "dir", "/i/dir", "no", ".."]))
        kind = LINK if kind == HARD else kind
        entries.append((name, kind, bits, chance.choice([0, 11, 1000]), text))
        if kind == FILE:
            files.append((bits, entries[-1][3], name))
    return tar_of(entries, mode)


def tar_of(entries, mode="w"):
    """Return a tar of (name, kind, mode, owner, text or target)."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode=mode) as tar:
        for name, kind, bits, owner, text in entries:
            info = tarfile.TarInfo(name.rstrip("/"))
            info.type, info.mode, info.uid, info.gid, info.mtime = kind, bits, owner, owner, DAY
            if kind == FILE:
                info.size = len(text)
            elif kind != FOLDER:
                info.linkname = text
            tar.addfile(info, io.BytesIO(text.encode()) if kind == FILE else None)
    return raw.getvalue()
