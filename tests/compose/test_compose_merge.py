"""Files over files, services over those they extend, and files that include others."""

import pytest
from compose_files import read, write

from ocimagic.errors import InvalidDocument, InvalidOption

BASE = """
services:
  web:
    image: one
    command: [run, it]
    environment: {A: "1", B: "2"}
    ports: ["8080:80", "9090:90"]
    volumes: ["./a:/data", "logs:/logs"]
    dns: 1.1.1.1
    labels: [x=1]
    logging: {driver: json-file, options: {max-size: 1m}}
    healthcheck: {test: [CMD, a], retries: 2}
volumes: {logs: }
"""


def document(tmp_path, over):
    write(tmp_path, base__yaml=BASE, over__yaml=over)
    project = read(tmp_path, files=("base.yaml", "over.yaml"))
    return project.services["web"].document


def test_keys_are_merged_and_lists_go_on(tmp_path):
    found = document(
        tmp_path,
        """
        services:
          web:
            image: two
            command: other
            environment: [B=3, C=4]
            ports: ["8080:80", "7070:70"]
            volumes: ["./b:/data:ro"]
            dns: [1.1.1.1, 8.8.8.8]
            labels: {y: "2"}
            healthcheck: {test: b}
        """,
    )
    assert found["image"] == "two"
    assert found["command"] == ["other"]
    assert found["environment"] == {"A": "1", "B": "3", "C": "4"}
    assert [each["published"] for each in found["ports"]] == ["8080", "9090", "7070"]
    assert [each["target"] for each in found["volumes"]] == ["/data", "/logs"]
    assert found["volumes"][0]["read_only"] is True
    assert found["dns"] == ["1.1.1.1", "8.8.8.8"]
    assert found["labels"] == {"x": "1", "y": "2"}
    assert found["healthcheck"] == {"test": ["CMD-SHELL", "b"], "retries": 2}


def test_reset_and_override(tmp_path):
    found = document(
        tmp_path,
        """
        services:
          web:
            ports: !override ["1:1"]
            volumes: !reset []
            environment: {A: !reset null}
            logging: {driver: none}
        """,
    )
    assert [each["target"] for each in found["ports"]] == [1]
    assert "volumes" not in found
    assert found["environment"] == {"B": "2"}
    assert found["logging"] == {"driver": "none"}


def test_a_file_over_itself_is_itself(tmp_path):
    text = """
    services:
      web:
        image: one
        command: a b
        entrypoint: [c]
        environment: [A=1]
        ports: ["80:80", "127.0.0.1::81/udp", "90-91:90-91"]
        expose: [1, "2"]
        volumes: ["./a:/a:ro", "v:/v", /anonymous]
        tmpfs: /t
        devices: ["/dev/null:/dev/x"]
        secrets: [s, {source: s, target: t}]
        cap_add: [A]
        dns: [1.1.1.1]
        extra_hosts: [a=1.1.1.1]
        depends_on: [db]
        networks: {n: {aliases: [x]}}
        env_file: [{path: e, required: false}]
        healthcheck: {test: [CMD, a]}
        build: {context: ., tags: [t], args: [B=2]}
        ulimits: {nofile: {soft: 1, hard: 2}}
        profiles: [p]
      db: {image: two}
    networks: {n: }
    volumes: {v: }
    secrets: {s: {environment: S}}
    """
    write(tmp_path, once__yaml=text)
    once = read(tmp_path, files=("once.yaml",))
    twice = read(tmp_path, files=("once.yaml", "once.yaml"))
    assert twice.document == once.document


def test_the_usual_file_and_the_one_that_changes_it(tmp_path):
    write(
        tmp_path,
        compose__yaml="services: {web: {image: a}}",
        compose__override__yaml="services: {web: {image: b}}",
    )
    inside = tmp_path / "deep" / "er"
    inside.mkdir(parents=True)
    project = read(inside)
    assert project.services["web"].image == "b"
    assert project.directory == str(tmp_path)
    assert len(project.files) == 2


def test_no_file_says_where_it_looked(tmp_path):
    with pytest.raises(InvalidOption, match="no compose file here"):
        read(tmp_path)


def test_extends_in_the_same_file_and_another(tmp_path):
    write(
        tmp_path,
        common___base__yaml="""
        services:
          base:
            image: base
            environment: {A: "1"}
            volumes: ["./rel:/rel"]
            env_file: vars.env
        """,
        common___vars__env="V=9\n",
        compose__yaml="""
        services:
          web:
            extends: {file: common/base.yaml, service: base}
            environment: {B: "2"}
          worker: {extends: web, command: work}
        """,
    )
    project = read(tmp_path)
    web, worker = project.services["web"], project.services["worker"]
    assert web.image == worker.image == "base"
    assert set(worker.options.env) == {"V=9", "A=1", "B=2"}
    assert web.options.volumes[0].source == str(tmp_path / "common" / "rel")
    assert worker.options.command == ("work",)
    assert "extends" not in worker.document


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{a: {extends: b}, b: {extends: a}}", "in a circle"),
        ("{a: {extends: bb}, b: {image: x}}", "did you mean b?"),
        ("{a: {extends: {file: none.yaml, service: x}}}", "there is no file none.yaml"),
    ],
)
def test_extends_that_cannot_be(tmp_path, text, said):
    with pytest.raises(InvalidDocument) as caught:
        read(tmp_path, f"services: {text}")
    assert said in str(caught.value)
    assert "compose.yaml line 1" in caught.value.where


def test_include_stands_on_its_own_directory_and_variables(tmp_path):
    write(
        tmp_path,
        part___compose__yaml="""
        services: {db: {image: "db:${TAG}", volumes: ["./data:/data"]}}
        networks: {back: }
        """,
        part___other__env="TAG=7\n",
        compose__yaml="""
        include:
          - {path: part/compose.yaml, env_file: part/other.env}
        services: {web: {image: web, depends_on: [db], networks: [back]}}
        """,
    )
    project = read(tmp_path)
    assert project.services["db"].image == "db:7"
    assert project.services["db"].options.volumes[0].source == str(tmp_path / "part" / "data")
    assert {"back", "default"} == set(project.networks)


def test_include_that_says_something_else(tmp_path):
    write(tmp_path, part__yaml="services: {web: {image: other}}")
    with pytest.raises(InvalidDocument, match="is there already"):
        read(tmp_path, "include: [part.yaml]\nservices: {web: {image: web}}")


def test_names_profiles_and_variables_of_the_project(tmp_path):
    text = """
    name: from-file
    services:
      web: {image: "x:${TAG:-none}"}
      debug: {image: x, profiles: [tools]}
      probe: {image: x, profiles: [tools], depends_on: [debug]}
    """
    write(tmp_path, __env="TAG=5\nCOMPOSE_PROFILES=tools\n", own__env="TAG=6\n")
    project = read(tmp_path, text)
    assert (project.name, project.services["web"].image) == ("from-file", "x:5")
    assert project.enabled == {"web", "debug", "probe"}
    project = read(tmp_path, text, env={"TAG": "8", "COMPOSE_PROJECT_NAME": "env"})
    assert (project.name, project.services["web"].image) == ("env", "x:8")
    project = read(tmp_path, text, name="said", env_files=("own.env",))
    assert (project.name, project.services["web"].image) == ("said", "x:6")
    assert project.enabled == {"web"}
    with pytest.raises(InvalidOption, match="no name for a project"):
        read(tmp_path, text, name="No Name")


def test_compose_file_names_several(tmp_path):
    write(tmp_path, a__yaml="services: {web: {image: a}}", b__yaml="services: {web: {image: b}}")
    project = read(tmp_path, env={"COMPOSE_FILE": "a.yaml:b.yaml"})
    assert project.services["web"].image == "b"


def test_a_directory_gives_its_name(tmp_path):
    place = tmp_path / "My App.2"
    place.mkdir()
    assert read(place, "services: {web: {image: a}}").name == "myapp2"
