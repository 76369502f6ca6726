"""What compose 1.29 sends for a service, and what becomes of it; recorded but for its labels."""

from ocimagic.model.network import NetworkChoice, PublishedPort
from ocimagic.model.options import NetworkMode, RunOptions, TmpfsMount, VolumeMount
from ocimagic.model.policy import HealthOptions, LogOptions, RestartName, RestartPolicy
from ocimagic.model.resources import DeviceMapping, ResourceOptions, Ulimit
from ocimagic.wire.create import container_create

WEB = {
    "Hostname": "box", "Domainname": "d.org",
    "ExposedPorts": {"80/tcp": {}, "53/udp": {}, "90/tcp": {}}, "User": "33", "Tty": True,
    "OpenStdin": True, "StdinOnce": False, "AttachStdin": False, "AttachStdout": False,
    "AttachStderr": False, "Env": ["A=1", "B"], "Cmd": ["sh", "-c", "echo hi"],
    "Image": "busybox", "Volumes": {"/data": {}, "/anon": {}, "/t": {}},
    "NetworkDisabled": False, "Entrypoint": ["/bin/x", "y"], "WorkingDir": "/x",
    "HostConfig": {
        "Memory": 67108864, "ShmSize": 1048576, "PidMode": "host", "IpcMode": "host",
        "ReadonlyRootfs": True, "NetworkMode": "cmp_back",
        "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}, "CapAdd": ["NET_ADMIN"],
        "Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x",
                     "CgroupPermissions": "r"}],
        "GroupAdd": ["audio"], "Dns": ["9.9.9.9"], "SecurityOpt": ["no-new-privileges:true"],
        "Sysctls": {"net.core.somaxconn": "5"}, "VolumesFrom": [],
        "Binds": ["cmp_data:/data:ro", "/tmp:/t:rw"],
        "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}],
                         "53/udp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
        "ExtraHosts": ["a:1.2.3.4"], "Links": [],
        "Ulimits": [{"Name": "nofile", "Soft": 5, "Hard": 9},
                    {"Name": "nproc", "Soft": 7, "Hard": 7}],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m"}},
        "Tmpfs": {"/run": ""}, "PidsLimit": 50, "Init": True, "NanoCpus": 500000000,
    },
    "NetworkingConfig": {"EndpointsConfig": {"cmp_back": {"Aliases": ["web"], "IPAMConfig": {}}}},
    "Labels": {"l": "v", "com.docker.compose.project": "cmp"}, "StopSignal": "INT",
    "Healthcheck": {"Test": ["CMD-SHELL", "curl x"], "Interval": 90000000000, "Timeout": None,
                    "Retries": 3, "StartPeriod": None},
    "StopTimeout": 3,
}  # fmt: skip
DB = {
    "Tty": False, "OpenStdin": False, "StdinOnce": False, "AttachStdin": False,
    "AttachStdout": False, "AttachStderr": False, "Image": "busybox", "Volumes": {},
    "NetworkDisabled": False,
    "HostConfig": {"NetworkMode": "host", "VolumesFrom": [], "Binds": [], "PortBindings": {},
                   "Links": [], "LogConfig": {"Type": "", "Config": {}}},
    "Labels": {"com.docker.compose.project": "cmp"},
}  # fmt: skip


def test_a_service_of_compose():
    assert container_create(WEB, name="cmp_web_1", platform=None) == RunOptions(
        image="busybox",
        name="cmp_web_1",
        command=("sh", "-c", "echo hi"),
        entrypoint=("/bin/x", "y"),
        env=("A=1", "B"),
        working_dir="/x",
        user="33",
        groups=("audio",),
        volumes=(
            VolumeMount(kept=True, name="cmp_data", target="/data", read_only=True),
            VolumeMount(source="/tmp", target="/t"),
            VolumeMount(kept=True, target="/anon"),
        ),
        tmpfs=(TmpfsMount(target="/run"),),
        shm_size_bytes=1 << 20,
        devices=(DeviceMapping(source="/dev/null", target="/dev/x", permissions="r"),),
        network=NetworkMode.NETWORK,
        networks=(NetworkChoice(network="cmp_back", aliases=("web",)),),
        ports=(
            PublishedPort(container_port=80, host_port=8080),
            PublishedPort(container_port=53, protocol="udp", host_address="127.0.0.1"),
        ),
        exposed_ports=("90/tcp",),
        pid="host",
        ipc="host",
        hostname="box",
        domainname="d.org",
        extra_hosts=(("a", "1.2.3.4"),),
        dns=("9.9.9.9",),
        labels={"l": "v", "com.docker.compose.project": "cmp"},
        read_only=True,
        detach=True,
        interactive=True,
        tty=True,
        init=True,
        no_new_privileges=True,
        cap_add=("NET_ADMIN",),
        sysctls={"net.core.somaxconn": "5"},
        ulimits=(Ulimit(name="nofile", soft=5, hard=9), Ulimit(name="nproc", soft=7, hard=7)),
        resources=ResourceOptions(memory_bytes=64 << 20, nano_cpus=500_000_000, pids_limit=50),
        restart=RestartPolicy(name=RestartName.ALWAYS),
        health=HealthOptions(test=("CMD-SHELL", "curl x"), interval_s=90.0, retries=3),
        log=LogOptions(max_size_bytes=10_000_000),
        stop_signal="INT",
        stop_timeout_s=3.0,
    )


def test_a_service_of_compose_in_the_network_of_the_machine():
    assert container_create(DB, name="cmp_db_1", platform="") == RunOptions(
        image="busybox",
        name="cmp_db_1",
        detach=True,
        network=NetworkMode.HOST,
        labels={"com.docker.compose.project": "cmp"},
    )
