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


def test_a_command_loads_no_network_libraries():
    """TLS alone takes longer to load than most commands take to run."""
    from pathlib import Path

    root = Path(__file__).parent.parent
    code = (
        f"import sys; sys.path.insert(0, {str(root)!r}); import ocimagic.engine, ocimagic.cli.app"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"ssl", "http", "email", "urllib3", "asyncio", "IPython", "anywidget"}
