"""What JupyterLab leaves of HTML that it does not trust, by the rules of the one installed here.

Its ``Sanitizer`` (packages/apputils/src/sanitizer.ts) is a list of elements, attributes and
properties for sanitize-html; they are read out of the installed bundle, so they are never old.
Values of properties are not judged here: the browser test asks the real one.
"""

import functools
import html
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

VOID = {"img", "br", "hr", "input"}


@functools.cache
def rules():
    """Return allowed elements, attributes by element, and properties."""
    pytest.importorskip("jupyterlab", reason="jupyterlab is not installed")
    static = Path(sys.prefix) / "share/jupyter/lab/static"
    for bundle in static.glob("jlab_core*.js"):
        code = bundle.read_text(errors="replace")
        start = code.find('{allowedTags:["a","abbr"')
        if start < 0:
            continue
        config = code[start : code.index("transformTags", start)]
        tags = json.loads(re.search(r"allowedTags:(\[[^\]]*\])", config)[1])
        body, _, styles = config.partition("allowedStyles:")
        attributes = {
            name.strip('"'): set(re.findall(r'"([\w-]+)"', names))
            for name, names in re.findall(
                r'("\*"|\w+):\[((?:[^\[\]]|\[[^\]]*\])*)\]', body.partition("allowedAttributes:")[2]
            )
        }
        properties = set(re.findall(r'[{,]"?([a-z][a-z-]*)"?:\[', styles))
        assert {"background", "color"} <= properties
        assert "src" in attributes["img"]
        return set(tags), attributes, properties
    raise AssertionError("JupyterLab's sanitizer is not where it was")


def sanitize(text):
    """Return what is left of HTML."""
    cleaner = _Cleaner()
    cleaner.feed(text)
    cleaner.close()
    return "".join(cleaner.out)


class _Cleaner(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.out = []

    def handle_starttag(self, tag, attrs):
        tags, attributes, properties = rules()
        if tag not in tags:
            return
        kept = []
        for name, value in attrs:
            if name not in attributes["*"] | attributes.get(tag, set()):
                continue
            if name == "style":
                pairs = [each for each in value.split(";") if each.strip()]
                fitting = [e for e in pairs if e.partition(":")[0].strip() in properties]
                value = ";".join(fitting)  # noqa: PLW2901
            kept.append(name if value is None else f'{name}="{html.escape(value)}"')
        self.out.append(f"<{' '.join([tag, *kept])}>")

    def handle_endtag(self, tag):
        if tag in rules()[0] and tag not in VOID:
            self.out.append(f"</{tag}>")

    def handle_data(self, data):
        self.out.append(html.escape(data))
