"""The files of real images, layer by layer: built here, run here, looked at in a container."""

import pytest

from ocimagic.cli.grammar import execute
from ocimagic.cli.session import Session
from ocimagic.errors import ImageNotFound
from ocimagic.model.options import BuildOptions
from ocimagic.render.display import as_html, as_text, mimebundle

DOCKERFILE = """\
FROM busybox
ENV A=1
RUN mkdir /pkg && head -c 300000 /dev/zero >/pkg/big && ln /pkg/big /pkg/same && echo a >/pkg/list
COPY app /srv/app
RUN rm -rf /pkg
RUN chmod 700 /srv/app && mkdir /new && touch /new/empty
"""


@pytest.fixture(scope="module")
def explored(shared, tmp_path_factory):
    context = tmp_path_factory.mktemp("context")
    (context / "app").write_bytes(b"x" * 5000)
    shared.images.build(
        BuildOptions(dockerfile=DOCKERFILE, context=str(context), tags=("explored",))
    )
    return shared.images.explore("explored")


def of(explored, path):
    [found] = [each for each in explored.files if each.path == path]
    return " ".join(f"{touch.letter}{touch.layer}" for touch in found.touches)


def test_whiteouts_hard_links_and_changes(explored):
    base = len(explored.accounts.layers) - 4
    assert of(explored, "pkg/big") == of(explored, "pkg/same") == f"A{base} D{base + 2}"
    assert of(explored, "pkg") == f"A{base} D{base + 2}"
    assert of(explored, "srv/app") == f"A{base + 1} M{base + 3}"
    assert of(explored, "new/empty") == f"A{base + 3}"
    assert [each.layer for each in explored.steps][-5:] == [
        None, base, base + 1, base + 2, base + 3
    ]  # fmt: skip


def test_each_wasted_byte_has_its_two_lines(explored):
    base = len(explored.accounts.layers) - 4
    pairs = {(each.shipped_by, each.hidden_by): each for each in explored.waste()}
    deleted, copied = pairs[base, base + 2], pairs[base + 1, base + 3]
    assert (deleted.size_bytes, deleted.files) == (300_002, 2), "a hard link is no second file"
    assert (copied.size_bytes, copied.files) == (5000, 1)


def test_it_shows_what_a_container_sees(shared, explored):
    script = "find / -xdev ! -path '/dev*' ! -path '/proc*' ! -path '/sys*' ! -path '/etc/*'"
    seen = shared.containers.run("explored", ["sh", "-c", script], network="none", remove=True)
    there = {f"/{each.path}" for each in explored.files if each.is_there}
    ours = {each for each in there if not each.startswith(("/dev", "/proc", "/sys", "/etc/"))}
    # The mount points that the runtime makes are in no layer.
    assert ours == set(seen.stdout.decode().split()) - {"/", "/dev", "/proc", "/sys", "/etc"} | (
        ours & {"/etc"}
    )


def test_text_and_html_name_lines_waste_and_directories(explored):
    for drawn in (as_text(explored, None), as_html(explored, None)):
        for words in ("RUN rm -rf /pkg", "wasted, by the two lines", "Largest directories", "/srv"):
            assert words in drawn
    text = as_text(explored, None)
    assert "big" in text


def test_the_words_in_a_shell(shared, explored):
    session = Session(engine=lambda: shared)
    assert execute(["image", "explore", "explored"], session) == explored
    base = len(explored.accounts.layers) - 4
    tree = execute(["image", "tree", "--layer", str(base + 2), "explored"], session)
    assert [each.path for each in tree.files] == ["pkg", "pkg/big", "pkg/list", "pkg/same"]
    assert f"D{base + 2}" in as_text(tree, None)
    near = execute(["image", "tree", "explored"], session)
    assert max(each.depth for each in near.files) == 1
    hits = execute(["image", "tree", "--grep", "/app$", "explored"], session)
    assert [each.path for each in hits.files] == ["srv", "srv/app"]


def test_a_tree_in_a_notebook_is_cut_and_says_so(shared, explored):
    tree = explored.tree()
    bundle = mimebundle(tree.first(5), None)
    assert f"{len(tree.files) - 5} paths more" in bundle["text/plain"]
    assert f"{len(tree.files) - 5} paths more" in bundle["text/html"]


def test_no_such_image(shared):
    with pytest.raises(ImageNotFound):
        shared.images.explore("nowhere")
