"""What an ``up`` would do, by what is wanted and what is there: values only."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from compose_files import read
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.compose import making
from ocimagic.compose.order import in_order, reverse
from ocimagic.compose.plan import Create, Keep, Recreate, Remove, Replace, Wanted, changes, plan
from ocimagic.compose.there import Instance
from ocimagic.errors import InvalidOption
from ocimagic.model.network import NetworkChoice, PublishedPort
from ocimagic.model.options import NetworkMode, RunOptions, TmpfsMount, VolumeMount
from ocimagic.model.policy import HealthOptions
from ocimagic.model.resources import DeviceMapping, Ulimit
from ocimagic.model.state import Status

NOW = datetime.now(UTC)


@dataclass
class Summary:
    name: str
    status: Status = Status.RUNNING
    container_id: str = "0" * 64
    labels: dict = field(default_factory=dict)


def there(number, config_hash="h", image="i", status=Status.RUNNING, name=""):
    summary = Summary(name or f"p-web-{number}", status)
    return Instance(summary, "web", number, config_hash, image)


def wanted(replicas=1, config_hash="h", image="i"):
    return Wanted(replicas=replicas, config_hash=config_hash, image_id=image)


def test_the_plan_is_the_difference():
    one, two = there(1), there(2)
    assert plan(wanted(2), []) == (Create(1), Create(2))
    assert plan(wanted(1), [one]) == (Keep(one),)
    assert plan(wanted(3), [two]) == (Keep(two), Create(1), Create(3))
    assert plan(wanted(1), [one, two]) == (Remove(two), Keep(one))
    assert plan(wanted(0), [one]) == (Remove(one),)
    assert plan(wanted(1, "other"), [one]) == (Replace(one),)
    assert plan(wanted(1, image="other"), [one]) == (Replace(one),)
    assert plan(wanted(1, image=""), [one]) == (Keep(one),)
    assert plan(wanted(1, "other"), [one], Recreate.NEVER) == (Keep(one),)
    assert plan(wanted(1), [one], Recreate.ALWAYS) == (Replace(one),)
    assert changes(plan(wanted(2), [one]))
    assert not changes(plan(wanted(1), [one, two]))


def test_of_two_with_one_number_the_one_that_is_as_wanted_stays():
    old, new = there(1, "old"), there(1, status=Status.CREATED, name="0000_p-web-1")
    assert plan(wanted(1), [old, new]) == (Remove(old), Keep(new))
    assert plan(wanted(1, "newer"), [old, new]) == (Remove(new), Replace(old))


_INSTANCES = st.lists(
    st.builds(
        there,
        st.integers(0, 4),
        st.sampled_from(["h", "other"]),
        st.just("i"),
        st.sampled_from([Status.RUNNING, Status.EXITED]),
        st.text("abc", min_size=3, max_size=6),
    ),
    max_size=8,
)


@given(_INSTANCES, st.integers(0, 4), st.sampled_from(list(Recreate)))
def test_after_every_plan_there_is_what_was_wanted(instances, replicas, recreate):
    steps = plan(wanted(replicas), instances, recreate)
    numbers = [each.number for each in steps if isinstance(each, Create)]
    numbers += [each.old.number for each in steps if isinstance(each, Replace)]
    numbers += [each.instance.number for each in steps if isinstance(each, Keep)]
    assert len(numbers) == len(set(numbers)) == replicas
    assert all(number > 0 for number in numbers)
    touched = [step.instance if isinstance(step, Keep | Remove) else step.old
               for step in steps if not isinstance(step, Create)]  # fmt: skip
    assert sorted(map(id, touched)) == sorted(map(id, instances))


# -- in order ---------------------------------------------------------------------------------


def test_each_comes_after_what_it_needs():
    done = []
    needs = {"web": {"db", "cache"}, "db": {"disk"}, "cache": set(), "disk": {"elsewhere"}}
    in_order(needs, done.append)
    assert done.index("disk") < done.index("db") < done.index("web")
    assert set(done) == set(needs)
    done.clear()
    in_order(reverse(needs), done.append)
    assert done.index("web") < done.index("db") < done.index("disk")


def test_the_first_failure_ends_it_and_what_was_begun_is_waited_for():
    done = []

    def act(name):
        if name == "db":
            raise ValueError(name)
        done.append(name)

    with pytest.raises(ValueError, match="db"):
        in_order({"web": {"db"}, "db": set(), "other": set()}, act)
    assert done == ["other"]


# -- from a service to the options of its containers --------------------------------------------


def test_a_service_as_run_options(tmp_path):
    text = """
    services:
      web:
        image: x
        command: run "a b"
        entrypoint: ["/in", "-x"]
        user: "1:2"
        working_dir: /w
        hostname: h
        domainname: d
        tty: true
        stdin_open: true
        privileged: true
        read_only: true
        init: true
        cap_add: [NET_ADMIN]
        cap_drop: [ALL]
        security_opt: [no-new-privileges, seccomp=unconfined]
        sysctls: [net.core.somaxconn=5]
        ulimits: {nproc: 5, nofile: {soft: 10, hard: 20}}
        shm_size: 64m
        mem_limit: 32m
        cpus: 0.5
        pids_limit: 9
        stop_signal: USR1
        stop_grace_period: 1m5s
        extra_hosts: {a: 1.2.3.4, b: [1.1.1.1, "::1"]}
        dns: 9.9.9.9
        dns_opt: [ndots:1]
        devices: ["/dev/null:/dev/other:r"]
        group_add: [10, wheel]
        ipc: host
        pid: host
        uts: host
        tmpfs: /run:size=5m
        volumes: [{type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0700}}]
        expose: [80, "3000-3001", "53/udp"]
        ports: ["127.0.0.1:8000-8010:80", "53:53/udp"]
        restart: on-failure:3
        annotations: [a.b=c]
        oom_score_adj: 5
        environment: [A=1, SHELLED, GONE]
        healthcheck: {test: [CMD, "true"], interval: 1s, retries: 3}
    """
    options = read(tmp_path, text, env={"SHELLED": "s"}).services["web"].options
    assert options.command == ("run", "a b")
    assert options.entrypoint == ("/in", "-x")
    assert options.env == ("A=1", "SHELLED=s", "GONE")
    assert (options.user, options.working_dir) == ("1:2", "/w")
    assert options.tty
    assert options.interactive
    assert options.no_new_privileges
    assert options.security.seccomp == "unconfined"
    assert options.sysctls == {"net.core.somaxconn": "5"}
    assert options.ulimits == (
        Ulimit(name="nproc", soft=5, hard=5),
        Ulimit(name="nofile", soft=10, hard=20),
    )
    resources = options.resources
    assert (resources.memory_bytes, resources.nano_cpus) == (32 << 20, 500_000_000)
    assert (options.shm_size_bytes, resources.pids_limit) == (64 << 20, 9)
    assert (options.stop_signal, options.stop_timeout_s) == ("USR1", 65.0)
    assert options.extra_hosts == (("a", "1.2.3.4"), ("b", "1.1.1.1"), ("b", "::1"))
    assert options.devices == (
        DeviceMapping(source="/dev/null", target="/dev/other", permissions="r"),
    )
    assert options.groups == ("10", "wheel")
    assert options.tmpfs == (
        TmpfsMount(target="/run", options=("size=5m",)),
        TmpfsMount(target="/t", options=("size=1048576", "mode=700")),
    )
    assert options.exposed_ports == ("80/tcp", "3000/tcp", "3001/tcp", "53/udp")
    assert options.ports == (
        PublishedPort(container_port=80, host_port=8000, last_host_port=8010,
                      host_address="127.0.0.1"),
        PublishedPort(container_port=53, host_port=53, protocol="udp"),
    )  # fmt: skip
    assert str(options.restart) == "on-failure:3"
    assert options.health == HealthOptions(test=("CMD", "true"), interval_s=1.0, retries=3)


def test_deploy_says_how_many_and_how_much(tmp_path):
    text = """
    services:
      web:
        image: x
        deploy:
          replicas: 3
          resources: {limits: {cpus: "1.5", memory: 1g, pids: 7}, reservations: {memory: 5m}}
          restart_policy: {condition: on-failure, max_attempts: 2}
    """
    service = read(tmp_path, text).services["web"]
    assert service.replicas == 3
    resources = service.options.resources
    assert (resources.nano_cpus, resources.memory_bytes) == (1_500_000_000, 1 << 30)
    assert (resources.pids_limit, resources.memory_reservation_bytes) == (7, 5 << 20)
    assert str(service.options.restart) == "on-failure:2"


def test_networks_by_importance_with_their_aliases(tmp_path):
    text = """
    services:
      web:
        image: x
        mac_address: 02:42:ac:11:00:09
        networks:
          a: {aliases: [w]}
          b: {priority: 10, ipv4_address: 172.30.0.9}
      none: {image: x, networks: []}
      off: {image: x, network_mode: none}
      beside: {image: x, network_mode: "service:web"}
    networks: {a: {name: real}, b: {ipam: {config: [{subnet: 172.30.0.0/24}]}}}
    """
    project = read(tmp_path, text, name="p")
    leader = there(1)
    leaders = {"web": leader}

    def made(name):
        return making.made_options(project, project.services[name], leaders)

    web = made("web")
    assert web.networks == (
        NetworkChoice(network="p_b", aliases=("web",), ipv4="172.30.0.9",
                      mac="02:42:ac:11:00:09"),
        NetworkChoice(network="real", aliases=("web", "w")),
    )  # fmt: skip
    assert made("none").network is NetworkMode.NONE
    assert made("off").network is NetworkMode.NONE
    beside = made("beside")
    assert (beside.network, beside.network_container) == (
        NetworkMode.CONTAINER, leader.container_id,
    )  # fmt: skip
    with pytest.raises(InvalidOption, match="has no container"):
        making.made_options(project, project.services["beside"], {})


def test_the_hash_changes_with_the_container_and_with_nothing_else(tmp_path):
    def hashed(text, **env):
        project = read(tmp_path, text, env=env, name="p")
        return making.config_hash(project, project.services["web"])

    base = "services: {web: {image: x, environment: {A: '${A:-1}'}}}"
    first = hashed(base)
    assert first == hashed(base.replace("image: x", "image: x, scale: 3"))
    assert first == hashed(base.replace("image: x", "image: x, depends_on: []"))
    assert first == hashed(base.replace("{A: '${A:-1}'}", "[A=1]"))
    assert first != hashed(base, A="2")
    assert first != hashed(base.replace("image: x", "image: x, labels: [a]"))


def test_what_config_prints_has_the_same_hash(tmp_path):
    from ocimagic.compose.show import as_yaml, document_of

    text = """
    services:
      web: {image: x, command: a 'b c', environment: [B=2, A=1], env_file: [v.env], ports: [80],
            labels: [x=1], configs: [c], volumes: [v:/v]}
    volumes: {v: }
    configs: {c: {content: "a $$b"}}
    """
    (tmp_path / "v.env").write_text("C=3\n")
    first = read(tmp_path, text, name="p")
    second = read(tmp_path, as_yaml(document_of(first)), name="p")
    hashes = [making.config_hash(each, each.services["web"]) for each in (first, second)]
    assert hashes[0] == hashes[1]


def test_unnamed_volumes_go_on_to_the_next_container():
    old = RunOptions(
        image="x",
        volumes=(
            VolumeMount(kept=True, name="0abc", target="/data", anonymous=True),
            VolumeMount(kept=True, name="named", target="/named"),
            VolumeMount(kept=True, name="1abc", target="/now-bound", anonymous=True),
        ),
    )
    new = RunOptions(
        image="x",
        volumes=(
            VolumeMount(kept=True, target="/data"),
            VolumeMount(source="/here", target="/now-bound"),
        ),
    )
    made = making.with_volumes_of(new, old)
    assert [(each.target, each.name or each.source) for each in made.volumes] == [
        ("/now-bound", "/here"), ("/data", "0abc"),
    ]  # fmt: skip


def test_config_is_a_compose_file_again(tmp_path):
    from ocimagic.compose.show import as_json, as_yaml, document_of

    text = """
    services:
      web: {image: x, command: "echo $$HOME", ports: ["80:80"], volumes: ["v:/v", "./d:/d"],
            environment: {A: "1"}, secrets: [s], depends_on: [db]}
      db: {build: ., profiles: [never]}
      cache: {image: y, networks: {back: {aliases: [c]}}}
    networks: {back: {internal: true}}
    volumes: {v: }
    secrets: {s: {file: ./s.txt}}
    """.replace("depends_on: [db]", "depends_on: [cache]")
    first = document_of(read(tmp_path, text, name="p"))
    for form in (as_yaml, as_json):
        again = document_of(read(tmp_path, form(first), name="p"))
        assert again == first
