"""Pasted lines: what becomes ours and what stays Python."""

import ast

import pytest

from ocimagic.errors import InvalidOption
from ocimagic.magics.transform import CellLines


def transform(cell, variables=()):
    known = {("line", "time"), ("line", "image_ls"), ("cell", "time"), ("line", "docker")}
    known |= {("cell", "docker"), ("cell", "dockerfile"), ("cell", "container_run")}
    lines = CellLines(
        ours={"docker", "dockerfile", "container_run"},
        near={"docker", "image_ls", "container_run"},
        is_magic=lambda kind, name: (kind, name) in known,
        is_variable=lambda name: name in variables,
    )
    return "".join(lines(cell.splitlines(keepends=True)))


def docker(line, indent=""):
    return f"{indent}get_ipython().run_line_magic('docker', {line!r})\n"


@pytest.mark.parametrize(
    ("cell", "made"),
    [
        ("docker image ls\n", docker("image ls")),
        ("docker\timage ls\n", docker("image ls")),
        ("docker import - x:1\n", docker("import - x:1")),
        ("$ docker image pull tomcat:8 \n", docker("image pull tomcat:8 ")),
        ("docker ps;\n", docker("ps;")),
        ("%image_ls;\n", "%image_ls ;\n"),
        ("x = %image_ls;\n", "x = %image_ls ;\n"),
        ("docker --help\n", docker("--help")),
        ("docker -v\n", docker("-v")),
        ("docker run busybox echo what?\n", docker("run busybox echo what?")),
        (
            "docker run busybox echo it's fine\nx = 1\n",
            docker("run busybox echo it's fine") + "x = 1\n",
        ),
        (
            "docker image pull tomcat:8\ndocker image pull redis:latest\n",
            docker("image pull tomcat:8") + docker("image pull redis:latest"),
        ),
        (
            "docker run \\\n  -d \\\n  busybox\nx = 1\n",
            docker("run \\\n  -d \\\n  busybox") + "\n\nx = 1\n",
        ),
        (
            'docker run x sh -c "echo a\necho b"\ny = 2\n',
            docker('run x sh -c "echo a\necho b"') + "\ny = 2\n",
        ),
        ("if x:\n    docker image ls\n", "if x:\n" + docker("image ls", "    ")),
        ("!echo it's (\ndocker ps\n", "!echo it's (\n" + docker("ps")),
        ("files = !ls (\ndocker ps\n", "files = !ls (\n" + docker("ps")),
        ("x = 'it' # it's (\ndocker ps\n", "x = 'it' # it's (\n" + docker("ps")),
        ("x = f'{a[\"b\"]}'\ndocker ps\n", "x = f'{a[\"b\"]}'\n" + docker("ps")),
    ],
)
def test_docker_lines_run(cell, made):
    assert transform(cell) == made


@pytest.mark.parametrize(
    "cell",
    [
        "docker = 1\n",
        "docker\n",
        "docker.x\n",
        "docker .x\n",
        "docker (1)\n",
        "docker [0]\n",
        "docker == 2\n",
        "docker -x\n",
        "docker in names\n",
        "from \\\n  docker import x\n",
        "docker is None\n",
        "docker if x else y\n",
        "docker and run()\n",
        "docker: int = 1\n",
        "docker , other = 1, 2\n",
        "docker += 1\n",
        "docker @ matrix\n",
        "print(docker)\n",
        "import docker\n",
        "# docker image ls\n",
        's = """\ndocker image ls\n"""\n',
        "s = '''a\n\"\"\"\ndocker image ls\n'''\n",
        "s = 'a\\\ndocker image ls'\n",
        "f(\ndocker , 1\n)\n",
        "x = [\n  # it's (\ndocker ,\n]\n",
        "x = 1 + \\\ndocker + 2\n",
        "dockerfile = 1\n",
        "docker_run = 2\n",
    ],
)
def test_python_stays(cell):
    assert transform(cell, variables={"docker"}) == cell
    if cell != "x = 1 + \\\ndocker + 2\n":
        ast.parse(cell)


def test_a_variable_of_that_name_is_left_alone():
    assert transform("docker --help\n", variables={"docker"}) == "docker --help\n"


@pytest.mark.parametrize(
    "cell",
    [
        "%%dockerfile -t x\nFROM scratch\n\ndocker image ls\n",
        "%%bash\ndocker image ls\n",
        "%%writefile x\n# c\n%%dockerfile\n",
    ],
)
def test_cell_magics_keep_their_body(cell):
    assert transform(cell.replace("%%writefile", "%%time")) == cell.replace("%%writefile", "%%time")


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (
            "# my image\n%%dockerfile -t x\nFROM x\n",
            "%%dockerfile must be the first line of its cell",
        ),
        ("x = 1\n%%docker ps\n", "it is on line 2"),
        ("%%dockerfile -t x\n", "%%dockerfile needs a cell"),
        ("%%container_run busybox\n  \n\n", "%%container_run needs a cell"),
        ("%imgae_ls -a\n", "did you mean %image_ls?"),
        ("%contianer_run busybox\n", "did you mean %container_run?"),
        ("%%dockerfle -t x\nFROM x\n", "did you mean %%dockerfile?"),
    ],
)
def test_what_would_be_a_syntax_error_is_said(cell, said):
    made = transform(cell)

    with pytest.raises(InvalidOption) as caught:
        exec(compile(made, "cell", "exec"), {})
    assert said in str(caught.value)


def test_line_numbers_stay():
    cell = "a = 1\ndocker run \\\n  busybox\nb = 2\n"

    assert transform(cell).count("\n") == cell.count("\n")
    assert ast.parse(transform(cell)).body[-1].lineno == 4
