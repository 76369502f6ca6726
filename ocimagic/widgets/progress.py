"""A pull as one bar per layer; who shows it replaces it by the static summary at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets

from ocimagic.model.event import ENDED, LayerPhase
from ocimagic.render.escape import markup
from ocimagic.render.units import human_rate, human_size

if TYPE_CHECKING:
    from ocimagic.model.event import LayerProgress
    from ocimagic.render.progress import PullProgress
    from ocimagic.spec.digest import Digest

_STYLES = {LayerPhase.EXTRACTING: "info", **dict.fromkeys(ENDED, "success")}


class PullBars(ipywidgets.VBox):
    """A line of text and a bar per layer."""

    def __init__(self) -> None:
        self.title = ipywidgets.HTML()
        self.bars: dict[Digest, ipywidgets.FloatProgress] = {}
        super().__init__([self.title])

    def draw(self, state: PullProgress) -> None:
        """Move the bars to where a pull is."""
        self.title.value = f"{markup(state.reference)}: {markup(state.summary())}"
        if {layer.digest for layer in state.layers} != self.bars.keys():
            self.bars = {layer.digest: _bar(layer) for layer in state.layers}
            self.children = (self.title, *self.bars.values())
        for layer in state.layers:
            _move(self.bars[layer.digest], layer)

    def close(self) -> None:
        """Take the widgets out of the page and out of the kernel."""
        for widget in (self.title, *self.bars.values()):
            widget.close()
        super().close()


def _bar(layer: LayerProgress) -> ipywidgets.FloatProgress:
    size_bytes = max(layer.total_bytes, 1)
    return ipywidgets.FloatProgress(min=0, max=size_bytes, description=layer.label)


def _move(bar: ipywidgets.FloatProgress, layer: LayerProgress) -> None:
    """Set value, colour and words; ipywidgets sends only what has changed."""
    with bar.hold_sync():
        bar.value = bar.max if layer.phase in ENDED else layer.done_bytes
        bar.bar_style = _STYLES.get(layer.phase, "")
        bar.tooltip = (
            f"layer {layer.label}, {human_size(layer.total_bytes)}: {layer.phase.value}"
            + (f", {human_rate(layer.bytes_per_s)}" if layer.bytes_per_s else "")
        )
