"""What may be loaded where: by names, never by milliseconds."""

import subprocess
import sys

import pytest

HEAVY = ("asyncio", "sqlite3", "http", "ssl", "IPython", "traitlets", "urllib3", "click", "email")


def modules_after(*words):
    code = f"import sys; {'; '.join(words)}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_launcher_loads_nothing_heavy():
    from pathlib import Path

    root = Path(__file__).parent.parent
    loaded = modules_after(f"sys.path.insert(0, {str(root)!r})", "import ocimagic.shim.launcher")
    assert "ocimagic.runtime.init" in loaded
    assert not {name for name in loaded if name.split(".")[0] in HEAVY}


@pytest.mark.parametrize("module", ["ocimagic", "ocimagic.spec.manifest", "ocimagic.errors"])
def test_the_package_itself_is_cheap(module):
    from pathlib import Path

    root = Path(__file__).parent.parent
    loaded = modules_after(f"sys.path.insert(0, {str(root)!r})", f"import {module}")
    assert not {name for name in loaded if name.split(".")[0] in (*HEAVY, "ctypes", "subprocess")}
