"""A published port's link in a real JupyterLab: it leads to the container through its proxy."""

import os
import sys
from pathlib import Path

import nbformat
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from desk import BASE, Notebook, write_notebook

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

SERVER = "mkdir /www; echo hello from a container > /www/index.html; exec httpd -f -p 80 -h /www"
CELLS = (
    "%load_ext ocimagic",
    f"%container_run -d --rm --name seen -p 127.0.0.1::80 busybox sh -c '{SERVER}'",
)


def test_a_link_through_the_servers_proxy(desk, lab):
    path = write_notebook(desk.room / "ports.ipynb", CELLS, "python3")
    notebook = Notebook.open(lab, path.name)
    for number in range(len(CELLS)):
        notebook.run(number)
    [port] = desk.engine.containers.ports("seen")
    link = notebook.panel.locator(".jp-OutputArea a")
    wanted = f"{BASE}/proxy/{port.host_port}/"
    assert link.get_attribute("href") == wanted
    assert link.get_attribute("target") == "_blank"
    assert "noopener" in link.get_attribute("rel")
    with lab.context.expect_page() as opening:
        link.click()
    opening.value.wait_for_function("document.body.textContent.includes('hello from a')")
    assert opening.value.url == f"{desk.address.removesuffix(BASE)}{wanted}"
    opening.value.close()

    notebook.save()
    notebook.close()
    # As somebody else's notebook, whose HTML is cleaned before it is shown.
    saved = nbformat.read(path, 4)
    saved.cells[1].source += "\n"
    nbformat.write(saved, desk.room / "untrusted.ipynb")
    again = Notebook.open(lab, "untrusted.ipynb")
    link = again.panel.locator(".jp-OutputArea a")
    assert link.get_attribute("href") == wanted
    assert link.get_attribute("target") == "_blank"
    again.close()
    desk.engine.containers.remove("seen", force=True)
