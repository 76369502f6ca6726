"""What pictures say of themselves: legends of what is there, and nothing cut that matters."""

import base64
import re
from dataclasses import replace

import every_kind
from samples import NOW, network_map
from svg_reader import read

from ocimagic.model.built import BuildChecked, BuildWarning
from ocimagic.model.difference import Difference, FileDifference
from ocimagic.model.report import PortBinding
from ocimagic.render.difference import diff_tables
from ocimagic.render.display import as_html
from ocimagic.render.inspect_tree import tree_html

NO_WAY_OUT = "network without a way out"
BASE = {"from the base image", "from its base image"}


def words(value):
    """Return all texts of a value's picture."""
    data = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', as_html(value, NOW))[1]
    return [each.text for each in read(base64.b64decode(data), dark=False)]


def test_an_image_with_no_base_has_no_legend_of_it():
    report = every_kind.one_image()
    assert BASE & {*words(report)}
    lines = tuple(replace(each, from_base=False) for each in report.lines)
    assert not (BASE | {"added on top"}) & {*words(replace(report, lines=lines))}


def test_letters_of_changes_are_told_from_those_of_layers():
    """A C stood for a changed file and, below it, for a layer."""
    own = every_kind.own_layer()
    assert "the container's own: A added, C changed, D deleted" in words(own)
    for is_base in (False, True):
        layers = tuple(replace(each, from_base=is_base) for each in own.layers)
        found = {*words(replace(own, layers=layers))}
        assert ("from its base image" in found, "the image's" in found) == (is_base, not is_base)


def test_a_published_port_keeps_its_end():
    """The picture had "127.0.0.1:50000 → 8…"."""
    made = network_map()
    port = PortBinding(container_port="80/tcp", host_ip="127.0.0.1", host_port=50000)
    web = replace(made.containers[0], ports=(port,))
    assert "127.0.0.1:50000 → 80/tcp" in words(replace(made, containers=(web,)))
    long = replace(port, host_ip="2001:db8:1234:5678:9abc:def0:1234:5678")
    found = words(replace(made, containers=(replace(web, ports=(long,)),)))
    assert any(each.endswith(":50000 → 80/tcp") for each in found)


def test_a_check_leads_to_the_page_that_explains_it():
    url = "https://docs.docker.com/go/dockerfile/rule/from-as-casing/"
    there = BuildWarning(rule="FromAsCasing", message="'AS' <and> 'from'", line=2, url=url)
    drawn = as_html(BuildChecked(warnings=(there,)), NOW)
    assert f'line 2: <a href="{url}"><strong>FromAsCasing</strong></a>' in drawn
    assert "Check complete, 1 warning found:" in drawn
    assert "&lt;and&gt;" in drawn
    other = replace(there, url="javascript:alert(1)")
    assert "href" not in as_html(BuildChecked(warnings=(other,)), NOW)
    assert "<ul" not in as_html(BuildChecked(warnings=()), NOW)


def test_a_file_of_one_image_is_there_or_not():
    """It was "only" in the one column and "here" in the other."""
    only = Difference(what="only", old="", new="here")
    found = replace(
        every_kind.difference(), files=(FileDifference(path="/opt", differences=(only,)),)
    )
    files = diff_tables(found)[-1]
    assert files.heads[1:] == ("WHAT", "web:1", "web:2")
    assert files.rows == (("/opt", "is there", "no", "yes"),)


def test_a_title_that_is_one_word_does_not_make_the_page_wider():
    assert "overflow-wrap:anywhere" in tree_html({}, title=f"image sha256:{'a' * 64}")


def test_networks_that_all_have_a_way_out():
    made = network_map()
    assert NO_WAY_OUT in words(made)
    alike = tuple(each for each in made.networks if each.name == "front")
    assert NO_WAY_OUT not in words(replace(made, networks=alike))
