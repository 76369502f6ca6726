"""Pull, look, save, load, registry, and builds without RUN work where there is no Linux below."""

import subprocess
import sys
import textwrap

from rootfs import MadeImage, tar_of

from ocimagic.registry.server import RegistryServer
from ocimagic.registry.source import MemorySource

PROGRAM = textwrap.dedent("""
    import sys

    class NoLinux:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[:2] == ["ocimagic", "linux"]:
                raise ImportError("there is no Linux here")

    sys.meta_path.insert(0, NoLinux())
    sys.platform = "darwin"
    from ocimagic import Engine
    from ocimagic.errors import HostLacks
    from ocimagic.model.options import BuildOptions
    from ocimagic.render.display import as_text

    root, image, context, layer = sys.argv[1:]
    with Engine(root, environment={}) as engine:
        engine.images.pull(image)
        assert engine.images.pull(image).up_to_date
        copies = "COPY f /etc/\\nCOPY f /new/dir/\\n"
        dockerfile = f"FROM {image}\\nLABEL a=b\\n{copies}CMD [\\"x\\"]\\n"
        options = BuildOptions(dockerfile=dockerfile, context=context, tags=("built:1",))
        built = engine.images.build(options)
        assert built.image_id == engine.images.build(options).image_id
        details = engine.images.inspect("built:1")
        assert details.config.config.labels == {"a": "b"}
        assert [layer.from_base for layer in details.layers] == [True, False, False]
        engine.images.tag("built:1", "other")
        engine.images.history("other")
        assert len(engine.images.list()) == 3
        engine.images.remove("other")
        archive = bytearray()
        engine.images.save([image, "built:1"], archive.extend)
        again = bytearray()
        with Engine(root + "-2", environment={}) as other:
            assert len(other.images.load(bytes(archive)).images) == 2
            assert other.images.inspect("built:1").layers == details.layers
            other.images.save([image, "built:1"], again.extend)
            with open(layer, "rb") as file:
                assert other.images.import_(file).size_bytes == 1
        assert again == archive
        for verb in (
            lambda: engine.containers.run("built:1"),
            lambda: engine.images.build(BuildOptions(dockerfile=f"FROM {image}\\nRUN true\\n")),
        ):
            try:
                verb()
            except HostLacks as err:
                assert "Linux" in str(err), err
            else:
                raise AssertionError("running should say that it cannot")
        assert engine.system.info().isolation == "look"
    assert not any(name.startswith("ocimagic.linux.") for name in sys.modules)
    print("portable")
""")


def test_the_portable_core(tmp_path):
    layer = tar_of(("etc", None), ("etc/a", b"a"))
    (tmp_path / "layer").write_bytes(layer)
    source = MemorySource()
    MadeImage([layer], {"Env": ["PATH=/bin"]}).serve(source, "demo", "latest")
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "f").write_text("f")
    with RegistryServer(source) as server:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, tmp_path / "root", f"{server.host}/demo",
             tmp_path / "context", tmp_path / "layer"],
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "portable\n"
