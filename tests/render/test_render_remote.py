"""What registries hold, as text and HTML."""

from dataclasses import replace

import pytest
import remote_samples as samples
from samples import HOSTILE, NOW, digest
from test_render_html import Checker

from ocimagic.cli.rows import SearchRows, TreeRows
from ocimagic.cli.values import ManifestsText, ManifestText
from ocimagic.model.event import LayerPhase, LayerProgress, TransferStarted
from ocimagic.render.display import as_html, as_text, mimebundle
from ocimagic.render.progress import PullProgress
from ocimagic.render.units import count

VALUES = [
    samples.copied(),
    samples.listing(),
    samples.referrers(),
    samples.referrers(referrers=()),
    samples.manifest_list(),
    samples.list_pushed(),
    ManifestText(samples.index_document()),
    ManifestText(samples.image_document()),
    ManifestsText(samples.manifest_details()),
    samples.hits(),
    SearchRows(samples.hits()),
    samples.trees(),
    TreeRows(samples.trees()),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_every_result_has_text_and_html(value):
    bundle = mimebundle(value, NOW)
    assert bundle["text/plain"].strip()
    seen = Checker(bundle["text/html"])
    for tag, attributes in seen.tags:
        if tag == "th":
            assert attributes["scope"] in {"row", "col"}
    tables = [tag for tag, _ in seen.tags].count("table")
    assert [tag for tag, _ in seen.tags].count("caption") == tables


HOSTILES = [
    samples.copied(reference=HOSTILE),
    samples.listing(HOSTILE, names=(HOSTILE,)),
    samples.referrers(reference=HOSTILE, referrers=(samples.referrer(artifact_type=HOSTILE),)),
    samples.manifest_list(HOSTILE),
    samples.list_pushed(reference=HOSTILE),
    ManifestText(samples.index_document(hostile=True)),
    ManifestsText(
        replace(
            samples.manifest_details(),
            manifests=(replace(samples.image_document(), reference=HOSTILE),),
        )
    ),
    SearchRows((samples.hit(HOSTILE, description=HOSTILE),)),
    TreeRows((samples.tree(HOSTILE),)),
    TreeRows((samples.tree(parts=(replace(samples.tree().parts[0], artifact_type=HOSTILE),)),)),
]


@pytest.mark.parametrize("value", HOSTILES, ids=lambda value: type(value).__name__)
def test_hostile_strings_stay_words(value):
    drawn = as_html(value, NOW)
    assert "<script" not in drawn
    assert "\x1b" not in drawn
    assert "\u202e" not in drawn
    Checker(drawn)
    assert "\x1b" not in as_text(value, NOW)


def test_progress_of_a_file_whose_length_is_not_known():
    state = PullProgress().update(TransferStarted("x", None, ((digest("x"), 0),), "importing"))
    moved = LayerProgress(digest("x"), LayerPhase.DOWNLOADING, 5_000_000, 0, name="file")
    state = state.update(moved)
    assert state.text().splitlines()[0] == "x: 5MB"
    assert state.text().splitlines()[1].startswith("file  downloading")
    assert state.text().endswith("]  5MB")
    assert "<code>file</code>" in state.html()


@pytest.mark.parametrize(
    ("number", "word", "said"),
    [
        (1, "repository", "1 repository"),
        (2, "repository", "2 repositories"),
        (2, "process", "2 processes"),
        (2, "day", "2 days"),
        (0, "image", "0 images"),
    ],
)
def test_count(number, word, said):
    assert count(number, word) == said
