"""Links over the API, as docker-py's own suite asks for them."""

import os

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def linked(api):
    """A container that runs, and one that is linked to it."""
    other = api.post("/containers/create?name=other", {"Image": "busybox", "Cmd": ["sleep", "99"]})
    api.post(f"/containers/{other['Id']}/start")
    body = {
        "Image": "busybox",
        "Cmd": ["sh", "-c", "env; cat /etc/hosts; sleep 99"],
        "HostConfig": {"Links": ["other:alias"]},
    }
    made = api.post("/containers/create?name=me", body)["Id"]
    api.post(f"/containers/{made}/start")
    return made


def names(api):
    return {name for each in api.get("/containers/json", all=1) for name in each["Names"]}


def test_a_link_is_listed_inspected_and_removed(api, daemon, linked):
    assert names(api) == {"/me", "/other", "/me/alias"}
    assert api.get(f"/containers/{linked}/json")["HostConfig"]["Links"] == ["/other:/me/alias"]
    told = api.output(linked).decode()
    while "\talias " not in told:
        told = api.output(linked).decode()
    assert "ALIAS_NAME=/me/alias" in told
    api.post("/containers/other/rename?name=else")
    assert api.get(f"/containers/{linked}/json")["HostConfig"]["Links"] == ["/else:/me/alias"]
    api.post("/containers/else/rename?name=other")
    assert api.refused("DELETE", "/containers/me/other?link=1")[0] == 404
    assert api.refused("DELETE", "/containers/me/alias")[0] == 404
    status, _ = api.ask("DELETE", "/containers/me/alias", link=1)
    assert status == 204
    assert names(api) == {"/me", "/other"}
    assert api.get(f"/containers/{linked}/json")["HostConfig"]["Links"] is None


def test_what_links_put_there_is_in_no_image(api, daemon, linked):
    made = api.post("/commit", {}, container=linked, changes="CMD true")["Id"]
    image = api.get(f"/images/{made}/json")
    for config in (image["Config"], image["ContainerConfig"]):
        assert not [each for each in config["Env"] if each.startswith("ALIAS_")]
    # And as API 1.41 has it, the image says what it was made of.
    assert image["Container"] == linked
    assert (image["ContainerConfig"]["Image"], image["ContainerConfig"]["Cmd"][:2]) == (
        "busybox", ["sh", "-c"],
    )  # fmt: skip
    assert image["Parent"] == api.get("/images/busybox/json")["Id"]
    assert api.ask("DELETE", f"/images/{made}")[0] == 200


def test_who_is_gone_is_no_link(api, daemon, linked):
    assert api.ask("DELETE", "/containers/other", force=1)[0] == 204
    assert api.get(f"/containers/{linked}/json")["HostConfig"]["Links"] is None
    api.post(f"/containers/{linked}/restart?t=0")


def test_a_link_to_nobody_is_no_404(api, daemon):
    """Which clients would take for an image that is not here."""
    body = {"Image": "busybox", "HostConfig": {"Links": ["nobody"]}}
    status, said = api.refused("POST", "/containers/create", body)
    assert status == 400
    assert "could not get container for nobody" in said
