"""What BuildKit calls the steps of a Dockerfile: as dockerd 20.10 was seen to call them."""

from ocimagic.dockerfile.needs import context_paths
from ocimagic.dockerfile.parse import parse
from ocimagic.dockerfile.plan import plan
from ocimagic.model.event import StepStarted
from ocimagic.wire.vertices import StepNames, images_of

TEXT = """\
FROM busybox AS one
ENV A=b
WORKDIR /w
COPY sub/ b* /c/
RUN true
FROM busybox:1.36
LABEL x=y
RUN --mount=type=bind,source=m,target=/m cat
FROM one
ADD http://a/b ./c /
CMD ["x"]
"""


def planned(text, target=None):
    parsed = parse(text)
    made = plan(parsed, target=target)
    return made, StepNames(made, len(parsed.stages))


def name(names, stage, line, text="RUN x"):
    return names.of(StepStarted(number=1, total=9, stage=stage, text=text, line=line))


def test_steps_are_counted_by_what_changes_files():
    _, names = planned(TEXT)
    assert (
        name(names, "one", 1, "FROM busybox AS one") == "[one 1/4] FROM docker.io/library/busybox"
    )
    assert name(names, "one", 2) == ""
    assert name(names, "one", 3) == "[one 2/4] WORKDIR /w"
    assert name(names, "one", 5) == "[one 4/4] RUN true"
    assert name(names, "2", 9, "FROM one") == ""
    assert name(names, "2", 10) == "[stage-2 1/1] ADD http://a/b ./c /"
    assert name(names, "linux/arm64 one", 3) == "[linux/arm64 one 2/4] WORKDIR /w"
    # What ONBUILD of the base adds stands at the FROM.
    assert name(names, "one", 1, "COPY . .") == "[one] COPY . ."


def test_a_single_stage_has_no_name():
    _, names = planned("FROM a.b/c@sha256:" + "0" * 64 + "\nRUN true\n")
    assert name(names, "0", 1, "FROM a.b/c") == "[1/2] FROM a.b/c@sha256:" + "0" * 64
    assert name(names, "0", 1, "COPY . .") == "COPY . ."


def test_many_steps_are_aligned():
    _, names = planned("FROM busybox\n" + "RUN true\n" * 11)
    assert name(names, "0", 2) == "[ 2/12] RUN true"


def test_an_image_is_looked_at_once():
    made, names = planned("FROM busybox AS a\nFROM busybox\nCOPY --from=a /x /\n")
    assert [str(each) for each in images_of(made)] == ["docker.io/library/busybox:latest"]
    shown = [name(names, label, line, "FROM busybox") for label, line in (("a", 1), ("1", 2))]
    assert sorted(map(bool, shown)) == [False, True]


def test_only_what_is_read_of_a_context_is_needed():
    made, _ = planned(TEXT)
    assert context_paths(made) == ("b*", "c", "sub")
    made, _ = planned(TEXT, "one")
    assert context_paths(made) == ("b*", "sub")
    for text in ("COPY . /", "COPY $A /", "RUN --mount=target=/x true", "COPY --parents a/./b /",
                 "ONBUILD COPY a /"):  # fmt: skip
        assert context_paths(planned(f"FROM a\n{text}\n")[0]) == ("/",), text
    for text in ("ENV A=b", "COPY --from=x a /", "ADD http://a/b /", "COPY <<E /x\nE"):
        assert context_paths(planned(f"FROM a\n{text}\n")[0]) == (), text
