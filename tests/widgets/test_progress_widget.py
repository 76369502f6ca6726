"""Bars follow a pull and go away."""

from ocimagic.model.event import LayerPhase, LayerProgress, TransferStarted
from ocimagic.render.progress import PullProgress
from ocimagic.spec.digest import Digest
from ocimagic.widgets.progress import PullBars

ONE, TWO = Digest.of(b"1"), Digest.of(b"2")


def state(*events):
    result = PullProgress()
    for event in (TransferStarted("busybox", Digest.of(b"m"), ((ONE, 100), (TWO, 0))), *events):
        result = result.update(event)
    return result


def test_a_bar_per_layer_moves():
    bars = PullBars()

    bars.draw(state())
    assert [bar.value for bar in bars.bars.values()] == [0, 0]
    bars.draw(
        state(
            LayerProgress(ONE, LayerPhase.DOWNLOADING, 40, 100),
            LayerProgress(TWO, LayerPhase.EXISTS, 0, 0),
        )
    )

    one, two = bars.bars[ONE], bars.bars[TWO]
    assert (one.value, one.max, one.bar_style) == (40, 100, "")
    assert (two.value, two.max, two.bar_style) == (1, 1, "success")
    assert "downloading" in one.tooltip
    assert bars.children == (bars.title, one, two)
    assert "busybox" in bars.title.value


def test_the_speed_is_told():
    bars = PullBars()
    bars.draw(state(LayerProgress(ONE, LayerPhase.DOWNLOADING, 40, 100, 2e6)))
    assert bars.title.value == "busybox: 40B of 100B, 2MB/s"
    assert bars.bars[ONE].tooltip.endswith("downloading, 2MB/s")
    bars.close()


def test_closing_closes_every_widget():
    bars = PullBars()
    bars.draw(state())
    widgets = [bars.title, *bars.bars.values()]

    bars.close()

    assert [each.comm for each in [*widgets, bars]] == [None] * 4
