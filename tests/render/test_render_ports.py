"""Published ports as links: what is one, where it leads, and what stays words."""

import re
from dataclasses import replace

import pytest
import samples

from ocimagic.cli.rows import PortRows
from ocimagic.cli.values import InspectDocument, Places
from ocimagic.model.network import NetworkEndpoint
from ocimagic.model.report import PortBinding
from ocimagic.render.display import as_html, as_text
from ocimagic.render.ports import has_links, through
from ocimagic.wire.container import container_inspect

NOW = samples.NOW
PORTS = (
    PortBinding(container_port="80/tcp", host_ip="0.0.0.0", host_port=8080),
    PortBinding(container_port="53/udp", host_ip="0.0.0.0", host_port=5353),
    PortBinding(container_port="81/tcp", host_ip="127.0.0.1", host_port=8081),
    PortBinding(container_port="82/tcp", host_ip="::1", host_port=8082),
    PortBinding(container_port="83/tcp", host_ip="192.0.2.7", host_port=8083),
)
WANTED = [
    "http://localhost:8080/", "http://localhost:8081/", "http://localhost:8082/",
    "http://192.0.2.7:8083/",
]  # fmt: skip


def web(**given):
    place = NetworkEndpoint(
        network="net", network_id="1", container_id="2", container="web",
        addresses=("10.0.0.2/16",), gateways=("10.0.0.1/16",), mac="02:42:0a:00:00:02",
    )  # fmt: skip
    return samples.container(ports=PORTS, places=(place,), **given)


def hrefs(html):
    return re.findall(r'<a href="([^"]*)" target="_blank" rel="noopener">', html)


@pytest.mark.parametrize(
    "value",
    [
        (web(),),
        web(),
        PortRows(PORTS),
        replace(samples.container_details(), summary=web()),
        InspectDocument(
            "container",
            [container_inspect(replace(samples.container_details(), summary=web()))],
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_tcp_ports_are_links_once_each(value):
    html = as_html(value, NOW)
    assert hrefs(html) == WANTED
    assert html.count("<a ") == len(WANTED)
    assert "5353" in html, "a port of UDP is said, but is no link"
    assert "<a" not in as_text(value, NOW)
    assert "8080" in as_text(value, NOW)


def test_one_port_of_a_container():
    assert hrefs(as_html(Places(("0.0.0.0:8080",), is_tcp=True), NOW)) == WANTED[:1]
    assert hrefs(as_html(Places(("[::1]:8082",), is_tcp=True), NOW)) == [WANTED[2]]
    assert hrefs(as_html(Places(("0.0.0.0:5353",), is_tcp=False), NOW)) == []
    assert as_text(Places(("0.0.0.0:8080",), is_tcp=True), NOW) == "0.0.0.0:8080"


def test_only_this_machine_is_reached_another_way():
    html = through(as_html(PortRows(PORTS), NOW), "/user/me/proxy/{port}/")
    assert hrefs(html) == [
        "/user/me/proxy/8080/", "/user/me/proxy/8081/", "/user/me/proxy/8082/", WANTED[3],
    ]  # fmt: skip
    assert hrefs(through(html, "/x/{port}")) == hrefs(html), "twice is once"


def test_what_others_say_is_no_link():
    text = '<a href="http://localhost:1/">x</a> 0.0.0.0:1->2/tcp href="http://localhost:1/"'
    html = as_html((samples.container(name=text, command=(text,)),), NOW)
    assert "<a" not in html
    assert not has_links(html)
    labelled = {"Config": {"Labels": {"Ports": text}}, "Ports": {"80/tcp": text}}
    assert "<a" not in as_html(InspectDocument("container", [labelled]), NOW)
