"""axe-core, which reads a page as a screen reader does; it looks into open shadow trees, too."""

import functools
import importlib.util
import sys
from types import SimpleNamespace
from unittest import mock

import pytest

from desk import CLONE

PATH = CLONE / "build" / "tools" / "axe.min.js"
# The page's own body has no height and hides what overflows: axe would take all for hidden.
_RUN = """async (within) => {
    document.body.style.height = "100vh";
    const found = await axe.run(
        {include: [[within]]},
        {runOnly: {type: "tag", values:
            ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}});
    document.body.style.height = "";
    return {
        passed: found.passes.map((rule) => rule.id),
        open: found.incomplete.flatMap((rule) => rule.nodes.map(
            (node) => `${rule.id}: ${node.any.map((each) => each.message)}: ${node.html}`)),
        wrong: found.violations.flatMap((rule) => rule.nodes.map(
            (node) => `${rule.id}: ${rule.help}: ${node.target.join(" ")}: ${node.html}`)),
    };
}"""


@functools.cache
def source():
    """Return the checker; it comes from the registry once, checked against its digest."""
    if not PATH.exists():
        # A virtual environment need not have setuptools, and nothing is built here.
        names = ("setuptools", "setuptools.command", "setuptools.command.build_py")
        distribution = type("Distribution", (), {"has_data_files": None})
        stand_in = SimpleNamespace(setup=None, build_py=object, Distribution=distribution)
        spec = importlib.util.spec_from_file_location("ocimagic_setup", CLONE / "setup.py")
        module = importlib.util.module_from_spec(spec)
        with mock.patch.dict(sys.modules, dict.fromkeys(names, stand_in)):
            spec.loader.exec_module(module)
        try:
            module.fetch(PATH.parent, module.TEST_PACKAGES)
        except OSError as err:
            pytest.skip(f"axe-core cannot be fetched: {err}")
    return PATH.read_text(encoding="utf-8")


def read(page, within):
    """Return which rules passed, what stayed open and what is wrong within a selector."""
    page.evaluate(source())
    return page.evaluate(_RUN, within)
