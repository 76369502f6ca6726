"""The cache never lies: after any edit, a cached build makes the image that a build anew makes.

Dockerfiles are thought up from few names, so that edits meet what an earlier build has left in
the cache; everything is dated, so that equal input has one image ID.
"""

from __future__ import annotations

import copy
import os
import random
import shutil

import pytest

MANY = os.environ.get("OCIMAGIC_CACHE_SEEDS")  # how many to try, when somebody has time
SEEDS = range(int(MANY)) if MANY else (0, 1, 16)  # 16 found a COPY --from that was another's
STAMP = 1_700_000_000
STAGES = ("one", "two", "last")
FILES = ("a", "b", "d/a", "d/b", "d/e/a", "x.log")
SOURCES = ("a", "b", "d", "d/", "d/a", "d/*", "[ab]", ".", "./d/e", "x.log", "$S", "${S:-d}")
OTHERS = ("/t", "/r", "/t/u", "/t/*", "/t/a", "/etc/group", "/etc/passwd")
TARGETS = ("/t/", "/t/u", "/t/u/", "t", "./", "/$S")
FLAGS = ("", "", "", "--link", "--chown=1:2", "--chown=app", "--chmod=700", "--chmod=u=rX,go=",
         "--exclude=a", "--exclude=**/a", "--exclude=*.log", "--parents")  # fmt: skip
COMMANDS = (
    "echo $S >> /r",
    "echo $E >> /r",
    "id -u > /who || true",
    "ls -a / /t > /seen 2>&1 || true",
    "rm -rf /t/u",
    "mkdir -p /t/u",
    "ln -sfn /t /l",
    "chmod 711 /r || true",
)


class Author:
    """Thinks up Dockerfiles and edits them."""

    def __init__(self, seed: int, place: object) -> None:
        self.random = random.Random(seed)
        self.place = place
        self.stages = {name: ["COPY a d /t/"] for name in STAGES}
        self.parents = {"one": "base", "two": "base", "last": "base"}
        self.arguments: dict[str, str] = {}
        self.restore()

    def restore(self) -> None:
        """Put all files where they were, so that something can be built again."""
        self.place.write(".dockerignore")
        for name in FILES:
            self.write(name)

    def write(self, name: str) -> None:
        mode = self.random.choice((0o644, 0o600, 0o755))
        self.place.write(name, self.random.choice(("0", "1", "22")), mode=mode)

    def line(self, stage: str) -> str:
        pick = self.random.choice
        before = STAGES[: STAGES.index(stage)]
        kind = pick(("copy", "copy", "from", "from", "from", "run", "run", "env", "arg", "workdir",
                     "user", "add", "heredoc", "mount", "label", "shell"))  # fmt: skip
        if kind == "from" and before:
            return f"COPY {pick(FLAGS[:7])} --from={pick(before)} {pick(OTHERS)} {pick(TARGETS)}"
        if kind == "mount":
            where = f"type=bind,source={pick(('d', 'a', '.', 'd/e'))},target=/m"
            return f"RUN --mount={where} cat /m /m/a > /r || true"
        return {
            "run": f"RUN {pick(COMMANDS)}",
            "env": f"ENV {pick('ESX')}={pick(('1', '2', '$S'))}",
            "arg": f"ARG {pick(('S', 'S=a', 'S=d', 'X=1'))}",
            "workdir": f"WORKDIR {pick(('/t', 'u', '/w/$S'))}",
            "user": f"USER {pick(('app', '0', '5:6'))}",
            "label": f"LABEL {pick('ab')}={pick('12')}",
            "shell": f'SHELL ["{pick(("/bin/sh", "sh"))}", "{pick(("-c", "-ec"))}"]',
            "heredoc": f"COPY <<f {pick(TARGETS)}\n{pick(('0', '$S', '1'))}\nf",
            "add": f"ADD {pick(FLAGS[:7])} {pick(SOURCES)} {pick(TARGETS)}",
        }.get(kind, f"COPY {pick(FLAGS)} {pick(SOURCES)} {pick(TARGETS)}")

    def edit(self) -> str:
        """Change one thing and return what."""
        pick = self.random.choice
        stage = pick(STAGES)
        lines = self.stages[stage]
        match pick(("line", "line", "source", "source", "source", "add", "drop", "swap", "file",
                    "mode", "gone", "arg", "parent", "ignore")):  # fmt: skip
            case "line":
                lines[self.random.randrange(len(lines))] = self.line(stage)
            case "source":
                self._other_source(lines)
            case "add" if len(lines) < 6:
                lines.insert(self.random.randint(0, len(lines)), self.line(stage))
            case "drop" if len(lines) > 1:
                lines.pop(self.random.randrange(len(lines)))
            case "swap":
                self.random.shuffle(lines)
            case "mode":
                path = self.place.context / pick(FILES)
                if path.exists():
                    path.chmod(pick((0o644, 0o600, 0o755)))
            case "gone":
                shutil.rmtree(self.place.context / "d" / "e", ignore_errors=True)
            case "arg":
                self.arguments = pick(({}, {"S": "a"}, {"S": "d"}, {"X": "1"}))
            case "parent":
                self.parents[stage] = pick(("base", *STAGES[: STAGES.index(stage)]))
            case "ignore":
                self.place.write(".dockerignore", pick(("", "*.log\n", "d/e\n", "**/a\n!d/a\n")))
            case _:
                self.write(pick(FILES))
        return self.text()

    def _other_source(self, lines: list[str]) -> None:
        """Let one COPY take something else, and leave all else of it as it is."""
        copies = [n for n, x in enumerate(lines) if x.startswith(("COPY", "ADD")) and "<<" not in x]
        for number in self.random.sample(copies, min(1, len(copies))):
            *words, _, target = lines[number].split()
            known = OTHERS if any(word.startswith("--from") for word in words) else SOURCES
            lines[number] = " ".join([*words, self.random.choice(known), target])

    def text(self) -> str:
        return "".join(
            f"FROM {self.parents[name]} AS {name}\n" + "".join(f"{x}\n" for x in self.stages[name])
            for name in STAGES
        )


def outcome(place, author, **options):
    """Build; return the image ID, or why there is none."""
    from ocimagic.errors import OcimagicError

    try:
        done = place.build(
            author.text(), build_args=dict(author.arguments), timestamp=STAMP, **options
        )
    except OcimagicError as err:
        return f"{type(err).__name__}: {err.what}"
    return str(done.image_id)


@pytest.mark.parametrize("seed", SEEDS)
def test_after_any_edit_the_cache_tells_the_truth(runs, seed):
    author = Author(seed, runs)
    good = 0
    for number in range(30):
        before = copy.deepcopy(author.stages)
        text = author.edit()
        cached = outcome(runs, author)
        anew = outcome(runs, author, no_cache=True)
        assert cached == anew, f"seed {seed}, edit {number}, {author.arguments}:\n{text}"
        again = outcome(runs, author)
        assert again == anew, f"seed {seed}, edit {number}, a second time:\n{text}"
        if cached.startswith("sha256:"):
            good += 1
        elif author.random.random() < 0.8:
            author.stages = before
            author.restore()
    assert good > 5, "hardly any of these Dockerfiles can be built"
