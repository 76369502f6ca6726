"""Where there is no Linux, everything but RUN is built: ocimagic.linux is blocked here."""

import json
import subprocess
import sys

SCRIPT = """
import json, sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name == "ocimagic.linux" or name.startswith(("ocimagic.linux.", "ocimagic.runtime")):
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Block())
from ocimagic.engine.engine import Engine
from ocimagic.errors import HostLacks
from ocimagic.model.options import BuildOptions

root, context = sys.argv[1:]
text = '''FROM scratch AS a
COPY f /d/f
ADD a.tar /
FROM scratch
COPY --from=a / /all
WORKDIR /w
LABEL a=b
CMD ["x"]
'''
with Engine(root=root) as engine:
    def build(text):
        return engine.images.build(BuildOptions(dockerfile=text, context=context, tags=("p",)))
    first, second = build(text), build(text)
    layers = engine.images.layers("p").images[0][1]
    try:
        build(text + "RUN true\\n")
        said = where = None
    except HostLacks as err:
        said, where = err.what, err.where
print(json.dumps({
    "same": first.image_id == second.image_id,
    "cached": [step.cached for step in second.steps],
    "layers": len(layers), "said": said, "where": where,
    "linux": [name for name in sys.modules if name.startswith("ocimagic.linux")],
}))
"""


def test_without_linux(tmp_path):
    import tarfile

    context = tmp_path / "context"
    context.mkdir()
    (context / "f").write_text("f")
    with tarfile.open(context / "a.tar", "w") as tar:
        tar.add(context / "f", "from-tar")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "root"), str(context)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert told["linux"] == []
    assert told["same"]
    assert all(told["cached"])
    assert told["layers"] == 2
    assert "cannot run containers" in told["said"]
    assert "RUN true" in told["where"]
