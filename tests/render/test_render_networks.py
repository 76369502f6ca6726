"""The map of networks: who reaches whom, and what a shared network is."""

from dataclasses import replace

from samples import NOW, container, network_map

from ocimagic.render.display import as_html, as_text
from ocimagic.render.network_map import bands, map_tables, reach, strangers


def people(made):
    return {each.name: each for each in made.containers}


def with_more(*more):
    made = network_map()
    return replace(made, containers=(*made.containers, *more))


def test_bands_are_networks_somebody_could_be_in():
    assert [each.name for each in bands(network_map())] == ["bridge", "front", "back", "none"]
    host = with_more(container("agent", network="host"))
    assert [each.name for each in bands(host)] == ["bridge", "front", "back", "host", "none"]


def test_who_reaches_whom():
    made = with_more(container("agent", network="host"))
    who = people(made)
    assert reach(who["web"], who["api"], made) == "by name in front"
    assert reach(who["web"], who["db"], made) == ""
    assert reach(who["agent"], who["db"], made) == "as the machine"
    assert reach(who["agent"], who["alone"], made) == ""
    assert ("web", "db") in strangers(made)


def test_in_the_default_bridge_they_have_no_names():
    made = network_map("bridge")
    assert reach(made.containers[0], made.containers[1], made) == "by address in bridge"


def test_a_container_in_the_network_of_another():
    db = people(network_map())["db"]
    helper = container("helper", network=f"container:{db.container_id}")
    made = with_more(helper)
    who = people(made)
    assert reach(who["helper"], who["db"], made) == "as one"
    assert reach(who["helper"], who["api"], made) == "by name in back"
    assert reach(who["helper"], who["web"], made) == ""
    assert "helper shares the network of db" in as_text(made, NOW)
    assert as_html(made, NOW)


def test_the_tables_say_it_all():
    where, whom = map_tables(network_map())
    assert ("back", "bridge, internal", "172.19.0.0/16", "no way out", "db", "172.19.0.3", "") in (
        where.rows
    )
    assert whom.rows[0] == ("web", "", "by name in front", "no", "no")


def test_many_containers_have_no_matrix_and_scroll():
    made = network_map()
    web = made.containers[0]
    crowd = replace(
        made,
        containers=tuple(replace(web, container_id=f"{n:064}", name=f"web{n}") for n in range(30)),
    )
    assert len(list(map_tables(crowd))) == 1
    assert "max-width:none" in as_html(crowd, NOW)


def test_nobody_and_nothing():
    empty = replace(network_map(), containers=())
    assert "nobody" in as_text(empty, NOW)
    assert "<img" in as_html(empty, NOW)
    assert "no networks" in as_html(replace(empty, networks=()), NOW)
