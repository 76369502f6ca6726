"""Who shares a layer: names first, then images that lost theirs."""


def test_images_without_a_name_come_last(fresh):
    """Their IDs stood anywhere among the names, as their digits were."""
    fresh.write("a", "A")
    base = "FROM scratch\nCOPY a /a\n"
    for number in range(3):
        fresh.build(f"{base}LABEL n={number}\n", "zz:1")
    fresh.build(f"{base}LABEL n=one\n", "aa:1")
    [layer] = fresh.engine.images.inspect("aa:1").layers
    first, *rest = layer.shared_with
    assert first == "zz:1"
    assert len(rest) == 2
    assert rest == sorted(rest)
    assert not any(":" in each for each in rest)
