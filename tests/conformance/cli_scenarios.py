"""What docker's own client is asked to do: of dockerd once, to record it, and of us in tests.

A scenario is a list of lines for ``sh``, in a directory of its own; ``$REGISTRY`` is an open
registry and ``$LOCKED`` one that wants the login teacher:secret.  A step in a terminal is a
``Typed``: what is typed each time some text was seen.  Where we differ is in cli_differs.py,
what runs them in cli_runner.py.
"""

from typing import NamedTuple


class Typed(NamedTuple):
    """A line in a terminal, and pairs of what is waited for and what is typed then."""

    line: str
    talk: tuple[tuple[str, str], ...] = ()


SLEEP = "docker run -d --name box busybox sleep 1000 >/dev/null"
LOOP = """docker run -d --name box busybox sh -c 'trap "exit 5" TERM; while :; do sleep 0.1; done' >/dev/null"""  # noqa: E501
TREE = "mkdir -p d/sub && echo one >d/a && echo two >d/sub/b"
DOCKERFILE = r"""printf 'FROM busybox\nARG WHAT=none\nENV A=b\nRUN echo said $WHAT >/f\nCMD ["cat","/f"]\n' >Dockerfile"""  # noqa: E501

SCENARIOS: dict[str, list[str | Typed]] = {
    # -- run --------------------------------------------------------------------
    "run_streams": [
        "docker run --rm busybox sh -c 'echo out; echo err >&2; exit 7'",
        "docker run --rm busybox true",
        "docker ps -aq",
    ],
    "run_stdin_half_close": [
        "printf 'one\\ntwo\\n' | docker run --rm -i busybox wc -l",
        "echo lost | docker run --rm busybox cat",
        "head -c 300000 /dev/zero | docker run --rm -i busybox sh -c 'wc -c; echo after'",
        "docker run --rm -i -a stdout busybox sh -c 'echo out; echo err >&2' </dev/null",
    ],
    "run_detached": [
        "docker run -d --name box busybox sh -c 'echo hello; exit 3'",
        "docker wait box",
        "docker logs box",
        "docker inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.Name}} {{.Path}} {{.Args}}' box",  # noqa: E501
    ],
    "run_name_conflict": [
        SLEEP,
        "docker run --name box busybox true",
        "docker create --name box busybox",
        "docker run --name 'not/good' busybox true",
    ],
    "run_settings": [
        "docker run --rm -e A=b -e EMPTY= -e C='d e' busybox sh -c 'echo $A-$EMPTY-$C'",
        "printf 'X=1\\n#no\\nY=2\\n' >f; docker run --rm --env-file f busybox sh -c 'echo $X$Y'",
        "docker run --rm -u 1000:10 busybox id",
        "docker run --rm -u alice busybox id",
        "docker run --rm -w /made/here busybox pwd",
        "docker run --rm --entrypoint echo busybox from entrypoint",
        "docker run --rm -h box busybox hostname",
        "docker run --rm --read-only busybox touch /f",
        "docker run --rm --tmpfs /t busybox sh -c 'touch /t/f && ls /t'",
        "docker run --rm --init busybox sh -c 'cat /proc/1/comm | cut -c 1-11'",
    ],
    "run_cannot": [
        "docker run --rm busybox nosuch",
        "docker run --rm busybox /etc/passwd",
        "docker run --rm busybox /tmp",
        "docker run --rm busybox /no/such",
        "docker run --rm -u nobodyhere busybox true",
        "docker run --rm -w relative busybox true",
        "docker run --rm -v relative:/x:bad busybox true",
        "docker run --rm --network nosuch busybox true",
        "docker run --rm --memory 1k busybox true",
        "docker run --nosuch busybox",
        "docker run",
        "docker run --rm -it busybox true </dev/null",
        "docker ps -aq",
    ],
    "run_cannot_kept": [
        "docker run --name box busybox nosuch",
        "docker ps -a --format '{{.Names}} {{.Status}}'",
        "docker inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}' box",
        "docker logs box",
    ],
    "run_no_image": [
        "docker run --rm nosuch.invalid/none >/dev/null 2>&1",
        "docker run --rm --pull never none:1 true",
        "docker run --rm 'BAD NAME' true",
        "docker run --rm $REGISTRY/none true",
    ],
    "run_tty": [
        Typed("docker run --rm -it --name box busybox", (("# ", "stty size; exit 4\n"),)),
        Typed("docker run --rm -t busybox tty"),
        Typed("docker run --rm -it busybox cat", (("", "typed\n"), ("typed\r\ntyped", "\x04"))),
        Typed("docker run --rm -it busybox sh -c 'trap \"exit 11\" INT; echo ready; while :; do sleep 0.1; done'", (("ready", "\x03"),)),  # noqa: E501
    ],
    "run_volume": [
        "docker run --rm -v data:/d busybox sh -c 'echo kept >/d/f'",
        "docker run --rm -v data:/d:ro busybox sh -c 'cat /d/f; touch /d/g'",
        "echo host >f; docker run --rm -v $PWD/f:/f:ro busybox cat /f",
        "docker run --rm --mount type=volume,src=data,dst=/x busybox ls /x",
        "docker run --rm --mount type=bind,src=/no/such/place,dst=/x busybox ls /x",
        "docker run --name box -v /nameless busybox true",
        "docker volume ls -q | wc -l",
        "docker rm -v box",
        "docker volume ls",
    ],
    "run_cidfile_label": [
        "docker run --cidfile id --name box -l a=b -l box busybox true",
        "cat id",
        "docker run --cidfile id busybox true",
        "docker inspect -f '{{json .Config.Labels}}' box",
    ],
    "run_restart": [
        "docker run -d --name box --restart on-failure:2 busybox sh -c 'echo again; exit 1'",
        "while [ $(docker inspect -f '{{.State.Status}}{{.RestartCount}}' box) != exited2 ]; do sleep 0.1; done",  # noqa: E501
        "docker logs box",
        "docker inspect -f '{{.RestartCount}} {{.HostConfig.RestartPolicy}}' box",
        "docker run --restart sometimes busybox true",
        "docker run --rm --restart always busybox true",
    ],
    "run_sig_proxy": [
        "timeout -s TERM 3 docker run --rm --name box busybox sh -c 'trap \"exit 9\" TERM; while :; do sleep 0.1; done'",  # noqa: E501
    ],
    # -- create, start, attach --------------------------------------------------
    "create_start": [
        "docker create --name box busybox sh -c 'echo hi; exit 6'",
        "docker ps -a --format '{{.Names}}: {{.Status}}: {{.Command}}'",
        "docker start box",
        "docker wait box",
        "docker start -a box",
        "docker create --name two -i busybox cat",
        "echo fed | docker start -ai two",
        "docker start nosuch",
        "docker start box nosuch two",
    ],
    "attach": [
        "docker run -d -i --name box busybox sh -c 'read a; sleep 0.5; echo got $a; exit 8' >/dev/null",  # noqa: E501
        "echo word | docker attach box",
        "docker attach box",
        "docker attach nosuch",
        SLEEP.replace("name box", "name two"),
        "docker attach --no-stdin two & sleep 1; docker kill two; wait $!",
    ],
    "attach_keys": [
        "docker run -dit --name box busybox cat >/dev/null",
        Typed("docker attach box", (("", "one\n"), ("one\r\none", "\x10\x11"))),
        "docker ps --format '{{.Names}} {{.State}}'",
        Typed("docker attach --detach-keys ctrl-a,x box", (("", "two\n"), ("two\r\ntwo", "\x01x"))),
        Typed("docker attach box", (("", "end\n"), ("end\r\nend", "\x04"))),
        "docker ps -a --format '{{.Names}} {{.State}}'",
        "docker attach --detach-keys nonsense box",
    ],
    # -- exec -------------------------------------------------------------------
    "exec": [
        SLEEP,
        "docker exec box sh -c 'echo out; echo err >&2; exit 3'",
        "echo fed | docker exec -i box cat",
        "docker exec -e A=b -w /tmp box sh -c 'echo $A; pwd'",
        "docker exec -u alice box id",
        "docker exec -d box touch /made",
        "sleep 0.5; docker exec box ls /made",
        "docker exec box nosuch",
        "docker exec box /etc/passwd",
        "docker exec -w /no/such box true",
        "docker exec nosuch true",
        "docker exec box",
        "docker stop -t 0 box",
        "docker exec box true",
    ],
    "exec_tty": [
        SLEEP,
        Typed("docker exec -it box sh", (("# ", "stty size; exit 2\n"),)),
        Typed("docker exec -t box tty"),
        Typed("docker exec -it box cat", (("", "one\n"), ("one\r\none", "\x10\x11"))),
    ],
    # -- ps, logs, inspect ------------------------------------------------------
    "ps": [
        "docker run -d --name one -l kind=x busybox sleep 1000 >/dev/null",
        "docker create --name two busybox echo 'a long command with more words than fit' >/dev/null",  # noqa: E501
        "docker run --name three busybox sh -c 'exit 3'",
        "docker ps",
        "docker ps -a",
        "docker ps -aq | wc -l",
        "docker ps -a --no-trunc --format '{{.Names}} {{.Command}}'",
        "docker ps -l --format '{{.Names}}'",
        "docker ps -n 2 --format '{{.Names}}'",
        "docker ps -a -f status=exited --format '{{.Names}}'",
        "docker ps -a -f exited=3 --format '{{.Names}} {{.Status}}'",
        "docker ps -a -f name=tw --format 'table {{.Names}}\t{{.Image}}'",
        "docker ps -a -f label=kind=x --format '{{.Names}} {{.Labels}} {{.Label \"kind\"}}'",
        "docker ps -a -f before=two --format '{{.Names}}'",
        "docker ps -a -f since=two --format '{{.Names}}'",
        "docker ps -a -f ancestor=busybox -q | wc -l",
        "docker ps -a -f nonsense=1",
        "docker ps -a -f status=nonsense",
        "docker ps -s --format '{{.Names}} {{.Size}}'",
        "docker container ls -a --format '{{.State}} {{.Mounts}} {{.Networks}}'",
    ],
    "logs": [
        "docker run --name box busybox sh -c 'echo 1; sleep 0.3; echo 2 >&2; sleep 0.3; echo 3'",
        "docker logs box",
        "docker logs --tail 1 box",
        "docker logs -n 0 box",
        "docker logs -t box",
        "docker logs --since 1h box",
        "docker logs --since 2100-01-01T00:00:00 box",
        "docker logs --until 2001-01-01T00:00:00 box",
        "docker logs --tail nonsense box",
        "docker logs --since nonsense box",
        "docker logs nosuch",
    ],
    "logs_follow": [
        "docker run -d --name box busybox sh -c 'for i in 1 2 3; do echo $i; sleep 0.2; done'",
        "docker logs -f box",
        "docker logs -f --tail 1 box",
    ],
    "logs_none": [
        "docker run --name box --log-driver none busybox echo seen",
        "docker logs box",
        "docker run --rm --log-driver nonsense busybox true",
    ],
    "inspect": [
        "docker create --name box -e A=b -w /tmp -u 1000 --memory 64m --cpus 0.5 -v vol:/d -h box --stop-signal INT busybox sh >/dev/null",  # noqa: E501
        "docker inspect -f '{{json .Config.Env}} {{.Config.WorkingDir}} {{.Config.User}}' box",
        "docker inspect -f '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.Config.StopSignal}}' box",  # noqa: E501
        "docker inspect -f '{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}} {{.RW}}{{end}}' box",  # noqa: E501
        "docker inspect -f '{{json .State.Running}} {{.State.Pid}} {{.Config.Hostname}}' box",
        "docker inspect -f '{{json .Config.Cmd}} {{json .Config.Entrypoint}}' box busybox",
        "docker inspect --type image -f '{{.Os}} {{.RepoTags}} {{.RootFS.Type}} {{.Size}}' busybox",
        "docker inspect --type volume -f '{{.Name}} {{.Driver}} {{.Scope}}' vol",
        "docker inspect -f '{{.Nonsense}}' box",
        "docker inspect nosuch",
        "docker container inspect nosuch",
        "docker image inspect nosuch",
        "docker inspect -s -f '{{.SizeRw}}' box",
    ],
    # -- the life of a container --------------------------------------------------
    "stop_kill": [
        LOOP,
        "docker stop box",
        "docker inspect -f '{{.State.ExitCode}} {{.State.OOMKilled}}' box",
        "docker stop box",
        "docker kill box",
        "docker start box",
        "docker kill -s USR1 box",
        "docker kill -s NONSENSE box",
        "docker kill box",
        "docker wait box",
        "docker stop nosuch",
        "docker kill nosuch",
        "docker stop",
    ],
    "restart": [
        LOOP,
        "docker restart -t 1 box",
        "docker ps --format '{{.Names}} {{.State}}'",
        "docker stop -t 0 box",
        "docker restart box",
        "docker restart nosuch",
    ],
    "pause": [
        SLEEP,
        "docker pause box",
        "docker ps --format '{{.Names}} {{.State}} {{.Status}}'",
        "docker pause box",
        "docker exec box true",
        "docker unpause box",
        "docker unpause box",
        "docker pause nosuch",
        "docker stop -t 0 box",
        "docker pause box",
    ],
    "rename": [
        SLEEP,
        "docker rename box two",
        "docker ps --format '{{.Names}}'",
        "docker create --name three busybox >/dev/null; docker rename two three",
        "docker rename nosuch x",
        "docker rename two two",
        "docker rename two 'b@d'",
    ],
    "update": [
        SLEEP,
        "docker update --memory 64m --memory-swap 64m --cpus 0.5 box",
        "docker inspect -f '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}' box",
        "docker update --restart always box",
        "docker inspect -f '{{.HostConfig.RestartPolicy.Name}}' box",
        "docker update --memory 1k box",
        "docker update nosuch --cpus 1",
        "docker update box",
    ],
    "rm": [
        SLEEP,
        "docker rm box",
        "docker rm -f box",
        "docker rm -f box",
        "docker rm nosuch",
        "docker create --name two busybox >/dev/null; docker create --name three busybox >/dev/null",  # noqa: E501
        "docker rm two nosuch three",
        "docker ps -aq",
    ],
    "container_prune": [
        "docker create --name box busybox >/dev/null",
        "docker container prune -f | sed 's/^Total.*/Total/'",
        "docker container prune -f",
        "docker container prune -f --filter nonsense=1",
    ],
    "wait": [
        "docker run -d --name box busybox sh -c 'sleep 0.5; exit 4' >/dev/null",
        "docker wait box",
        "docker wait box box",
        "docker wait nosuch",
    ],
    "top_stats": [
        SLEEP,
        "docker top box -o args",
        "docker top box -eo comm,args",
        "docker top nosuch",
        "docker stats --no-stream --format '{{.Name}} {{.PIDs}} {{.Container}}' box",
        "docker stats --no-stream --format '{{.Name}}'",
        "docker stats --no-stream nosuch",
        "docker stop -t 0 box",
        "docker top box",
    ],
    "diff": [
        "docker run --name box busybox sh -c 'mkdir /new; echo x >/new/f; rm /etc/group; echo y >>/etc/passwd'",  # noqa: E501
        "docker diff box | sort",
        "docker diff nosuch",
    ],
    "port": [
        "docker run -d --name box -p 127.0.0.1:18080:80 -p 127.0.0.1:18081:81/udp --expose 99 busybox sleep 1000 >/dev/null",  # noqa: E501
        "docker port box",
        "docker port box 80",
        "docker port box 81/udp",
        "docker port box 99",
        "docker port nosuch",
        "docker ps --format '{{.Ports}}'",
        "docker run --rm -p 127.0.0.1:18080:80 busybox true 2>&1 | sed 's/endpoint [a-z_]* ([0-9a-f]*)/endpoint NAME/; s/^docker: //; s/driver failed.*: Bind/Bind/'",  # noqa: E501
        "docker run --rm -p nonsense busybox true",
    ],
    # -- files ------------------------------------------------------------------
    "cp": [
        SLEEP,
        TREE,
        "docker cp d box:/tmp 2>/dev/null",
        "docker exec box cat /tmp/d/a /tmp/d/sub/b",
        "docker cp d/a box:/tmp/renamed 2>/dev/null; docker exec box cat /tmp/renamed",
        "docker cp d/. box:/tmp 2>/dev/null; docker exec box ls /tmp",
        "docker cp box:/tmp/d out 2>/dev/null; find out | sort",
        "docker cp box:/tmp/d/a - | tar -t",
        "tar -C d -c a | docker cp - box:/home; docker exec box cat /home/a",
        "docker cp box:/tmp/renamed . 2>/dev/null; cat renamed",
        "docker cp -L box:/bin/sh - | tar -t",
        "docker cp box:/bin/sh - | tar -tv | sed 's/.* //'",
        "docker cp d/a box:/no/such/place",
        "docker cp d box:/tmp/renamed 2>&1 | grep -v level=error",
        "docker cp box:/nosuch .",
        "docker cp d/nosuch box:/",
        "docker cp nosuch:/x .",
        "docker cp d/a nosuch:/x",
        "docker cp a b",
    ],
    "export_import": [
        "docker run --name box busybox sh -c 'echo kept >/kept'",
        "docker export box | tar -t | grep -x kept",
        "docker export -o out.tar box; tar -xOf out.tar kept",
        "docker export nosuch",
        "docker import -m why -c 'CMD [\"cat\",\"/kept\"]' -c 'ENV A=b' out.tar back:1",
        "docker run --rm back:1",
        "cat out.tar | docker import - back:2",
        "docker history --format '{{.Comment}}|{{.CreatedBy}}' back:1",
        "docker import nosuch.tar",
        "echo nonsense | docker import - back:3",
    ],
    "commit": [
        "docker run --name box busybox sh -c 'echo kept >/kept'",
        "docker commit -a me -m why -c 'CMD [\"cat\",\"/kept\"]' -c 'ENV A=b' -c 'LABEL x=y' -c 'EXPOSE 80' box new:1",  # noqa: E501
        "docker run --rm new:1",
        "docker inspect -f '{{.Author}} {{.Comment}} {{.Config.Env}} {{.Config.Labels}} {{.Config.ExposedPorts}}' new:1",  # noqa: E501
        "docker history --format '{{.Comment}}|{{.CreatedBy}}|{{.Size}}' new:1",
        "docker commit box",
        "docker commit nosuch",
        "docker commit -c 'NONSENSE x' box",
        "docker commit -c 'RUN x' box",
        "docker commit box BAD",
    ],
    # -- images -----------------------------------------------------------------
    "images": [
        "docker tag busybox other:1; docker tag busybox example.com:5000/deep/er:2",
        "docker images | sort",
        "docker images --format '{{.Repository}}:{{.Tag}} {{.Digest}}' other",
        "docker images -q busybox other | wc -l",
        "docker images 'oth*' --format '{{.Repository}}'",
        "docker images -f reference='*:1' --format '{{.Repository}}'",
        "docker images -f dangling=true -q",
        "docker images -f before=busybox -q",
        "docker images -f nonsense=1",
        "docker images --no-trunc --format '{{.ID}}' busybox",
        "docker images --digests busybox",
        "docker images nosuch",
    ],
    "tag_rmi": [
        "docker tag busybox one:1; docker tag busybox two",
        "docker tag nosuch one:2",
        "docker tag busybox BAD",
        "docker rmi one:1",
        "docker rmi two nosuch",
        "docker rmi one:1",
        "docker run --name box busybox true; docker tag busybox mine; docker rmi mine",
        "docker rmi busybox",
    ],
    "rmi_used": [
        DOCKERFILE,
        "docker build -q -t mine . >/dev/null 2>&1; docker create --name box mine >/dev/null",
        "docker rmi mine",
        "docker rmi -f mine",
        "docker ps -a --format '{{.Names}}'",
        "docker rm box",
        "docker images -q -a | wc -l",
    ],
    "history": [
        DOCKERFILE,
        "docker build -q -t mine . >/dev/null 2>&1",
        "docker history mine",
        "docker history --no-trunc --format '{{.CreatedBy}}' mine",
        "docker history -q busybox",
        "docker history nosuch",
    ],
    "save_load": [
        "docker tag busybox kept:1; docker tag busybox kept:2",
        "docker save -o two.tar kept:1 kept:2; docker rmi kept:1 kept:2",
        "docker load -i two.tar",
        "docker load -q <two.tar",
        "docker save kept:1 | tar -xO manifest.json | grep -c kept:1",
        "docker save nosuch | cat",
        "echo nonsense | docker load",
        "docker load -i nosuch.tar",
        Typed("docker save kept:1"),
    ],
    "image_prune": [
        DOCKERFILE,
        "docker build -q -t mine . >/dev/null 2>&1; docker build -q --build-arg WHAT=x -t mine . >/dev/null 2>&1",  # noqa: E501
        "docker images -f dangling=true -q | wc -l",
        "docker image prune -f | grep -c '^deleted: sha256'",
        "docker image prune -f",
        "docker image prune -f --filter label=nosuch",
        "docker image prune -f --filter nonsense=1",
    ],
    # -- build ------------------------------------------------------------------
    "build": [
        DOCKERFILE,
        "docker build -t one -t two:2 .",
        "docker build -t one .",
        "docker run --rm two:2",
        "docker build --build-arg WHAT=args -t one . >/dev/null 2>&1; docker run --rm one",
        "docker build --build-arg UNUSED=1 .",
        "docker build --no-cache -q --iidfile id . && cat id",
        "docker build --label a=b -q -t l . >/dev/null 2>&1; docker inspect -f '{{.Config.Labels}}' l",  # noqa: E501
    ],
    "build_fails": [
        "printf 'FROM busybox\\nRUN echo before; exit 9\\nRUN never\\n' >Dockerfile",
        "docker build -t no .",
        "docker images -q no",
        "printf 'FROM busybox\\nRUN nosuch\\n' | docker build -",
        "printf 'FROM busybox\\nRUN [\"/nosuch\"]\\n' | docker build -",
        "printf 'FROM busybox\\nBAD x\\n' | docker build -",
        "printf 'RUN true\\n' | docker build -",
        "printf 'FROM busybox\\nCOPY nosuch /\\n' >Dockerfile; docker build .",
        "printf 'FROM none:never\\n' >Dockerfile; docker build --build-arg x=y . 2>&1 | grep -o FROM",  # noqa: E501
        ": >Dockerfile; docker build .",
        "docker build -f nosuch .",
        "docker build nosuch",
        "docker build -t BAD .",
    ],
    "build_copy": [
        TREE,
        "printf 'd/sub\\n*.log\\n' >.dockerignore; touch x.log y.txt",
        "printf 'FROM busybox\\nWORKDIR /w\\nCOPY . .\\nADD d/a /a\\nRUN find . | sort; cat /a\\n' >My",  # noqa: E501
        "docker build -f My .",
        "echo changed >d/a; docker build -f My . | grep -c cache",
        "docker build -f My . | grep -c cache",
    ],
    "build_stages": [
        "printf 'FROM busybox AS first\\nRUN echo 1 >/1\\nFROM busybox AS second\\nCOPY --from=first /1 /2\\nCMD cat /2\\n' >Dockerfile",  # noqa: E501
        "docker build -t all .",
        "docker run --rm all",
        "docker build --target first -t part .",
        "docker run --rm part cat /1",
        "docker build --target nosuch .",
    ],
    "build_stdin": [
        "printf 'FROM busybox\\nCMD echo from stdin\\n' | docker build -t in -",
        "docker run --rm in",
        "printf 'FROM busybox\\nCOPY f /\\nCMD cat /f\\n' >Dockerfile; echo tarred >f",
        "tar -cz Dockerfile f | docker build -q -t tarred - >/dev/null; docker run --rm tarred",
        "printf 'FROM busybox\\nCOPY f /g\\nCMD cat /g\\n' | docker build -q -f - -t both . >/dev/null 2>&1; docker run --rm both",  # noqa: E501
    ],
    "build_instructions": [
        "printf 'FROM busybox\\nLABEL a=b\\nMAINTAINER me\\nEXPOSE 80\\nVOLUME /v\\nUSER alice\\nSHELL [\"/bin/sh\",\"-ec\"]\\nSTOPSIGNAL INT\\nHEALTHCHECK --interval=5s CMD true\\nONBUILD RUN echo built on\\nENTRYPOINT [\"id\"]\\nCMD [\"-u\"]\\n' >Dockerfile",  # noqa: E501
        "docker build -t base .",
        "docker run --rm base",
        "docker inspect -f '{{json .Config.Entrypoint}} {{json .Config.Cmd}} {{.Config.User}} {{.Config.StopSignal}} {{json .Config.OnBuild}} {{json .Config.Healthcheck}}' base",  # noqa: E501
        "printf 'FROM base\\nCMD [\"-g\"]\\n' | docker build -",
    ],
    "build_prune": [
        "docker builder prune -f",
        "docker builder prune -af",
    ],
    # -- registries ---------------------------------------------------------------
    "push_pull": [
        "docker tag busybox $REGISTRY/pushed:1",
        "docker push $REGISTRY/pushed:1",
        "docker push $REGISTRY/pushed:1",
        "docker rmi $REGISTRY/pushed:1 >/dev/null",
        "docker pull $REGISTRY/pushed:1",
        "docker pull -q $REGISTRY/pushed:1",
        "docker pull $REGISTRY/pushed:2",
        "docker pull $REGISTRY/nosuch",
        "docker pull BAD",
        "docker push nosuch/none",
        "docker push $REGISTRY/none:1",
        "docker pull 127.0.0.1:1/x 2>&1 | grep -o 'connection refused'",
    ],
    "login": [
        "docker tag busybox $LOCKED/mine",
        "docker push -q $LOCKED/mine",
        "echo wrong | docker login -u teacher --password-stdin $LOCKED",
        "echo secret | docker login -u teacher --password-stdin $LOCKED 2>/dev/null",
        "docker push -q $LOCKED/mine",
        "docker rmi $LOCKED/mine >/dev/null; docker pull -q $LOCKED/mine",
        "docker logout $LOCKED",
        "docker pull -q $LOCKED/mine",
        "docker logout $LOCKED",
        "docker login -u teacher $LOCKED </dev/null",
    ],
    "search": ["docker search --limit 1000 x"],
    # -- volumes, networks ----------------------------------------------------------
    "volume": [
        "docker volume create vol",
        "docker volume create vol",
        "docker volume create --label a=b wol",
        "docker volume ls",
        "docker volume ls -q -f label=a",
        "docker volume ls -q -f name=vol",
        "docker volume ls -q -f dangling=true",
        "docker volume inspect -f '{{.Name}} {{.Driver}} {{.Labels}} {{.Options}} {{.Scope}}' wol",
        "docker create --name box -v vol:/d busybox >/dev/null",
        "docker volume rm vol",
        "docker volume rm wol nosuch",
        "docker volume rm -f nosuch",
        "docker volume inspect nosuch",
        "docker volume create 'b@d'",
        "docker volume create -d nosuch x",
        "docker rm box >/dev/null; docker volume prune -f | sed 's/^Total.*/Total/'",
        "docker volume ls -f nonsense=1",
    ],
    "network": [
        "docker network ls",
        "docker network create net",
        "docker network create net",
        "docker network create --subnet 172.31.0.0/24 --gateway 172.31.0.9 --label a=b --internal lan",  # noqa: E501
        "docker network ls --format '{{.Name}} {{.Driver}} {{.Scope}}'",
        "docker network ls -q -f name=net --no-trunc | wc -l",
        "docker network ls -f driver=bridge -f label=a --format '{{.Name}}'",
        "docker network inspect -f '{{.Name}} {{.IPAM.Config}} {{.Internal}} {{.Labels}}' lan",
        "docker run -d --name box --network net --network-alias other busybox sleep 1000 >/dev/null",  # noqa: E501
        "docker run --rm --network net busybox ping -c 1 -w 5 other | sed -n '1s/(.*)/()/p'",
        "docker network connect --ip 172.31.0.7 lan box",
        "docker inspect -f '{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{end}}' box",
        "docker inspect -f '{{.NetworkSettings.Networks.lan.IPAddress}}' box",
        "docker network inspect -f '{{range .Containers}}{{.Name}} {{.IPv4Address}}{{end}}' lan",
        "docker network connect lan box",
        "docker network disconnect lan box",
        "docker network disconnect lan box",
        "docker network connect nosuch box",
        "docker network connect lan nosuch",
        "docker network rm net",
        "docker network rm lan nosuch",
        "docker network rm bridge",
        "docker network inspect nosuch",
        "docker network create bridge",
        "docker network create -d nosuch x",
        "docker network create --subnet nonsense x",
        "docker rm -f box >/dev/null; docker network prune -f",
    ],
    # -- system -------------------------------------------------------------------
    "events": [
        "sleep 1.1; date +%s >from",
        "docker run --name box busybox true; docker rm box >/dev/null; docker tag busybox evt:1; docker rmi evt:1 >/dev/null; docker volume create vol >/dev/null; docker volume rm vol >/dev/null",  # noqa: E501
        "sleep 1.1; docker events --since $(cat from) --until $(date +%s) --filter type=container --format '{{.Type}} {{.Action}} {{.Actor.Attributes.name}}'",  # noqa: E501
        "docker events --since $(cat from) --until $(date +%s) --filter type=image --format '{{.Action}}'",  # noqa: E501
        "docker events --since $(cat from) --until $(date +%s) --filter type=volume --format '{{.Action}} {{.Actor.ID}}'",  # noqa: E501
        "docker events --since $(cat from) --until $(date +%s) --filter container=box --filter event=die",  # noqa: E501
        "docker events --since nonsense --until 1",
    ],
    "info_version": [
        "docker info --format '{{.Containers}} {{.Images}} {{.OSType}} {{.Architecture}} {{.NCPU}}'",  # noqa: E501
        "docker info --format '{{.LoggingDriver}} {{.Swarm.LocalNodeState}}'",
        "docker version --format '{{.Server.Os}}/{{.Server.Arch}}'",
        "docker version --format '{{.Nonsense}}'",
        "docker info 2>/dev/null | grep -E '^ *(OS|Architecture|Containers|Running|Paused|Stopped|Images|CPUs)'",  # noqa: E501
    ],
    "system_df": [
        "docker create --name box busybox >/dev/null; docker volume create vol >/dev/null",
        "docker system df",
        "docker system df --format '{{.Type}} {{.TotalCount}} {{.Active}}'",
        "docker system df -v --format '{{range .Images}}{{.Repository}} {{.Containers}}{{end}}'",
    ],
    "system_prune": [
        "docker create --name box busybox >/dev/null; docker network create net >/dev/null; docker volume create vol >/dev/null",  # noqa: E501
        "docker system prune -f | sed 's/^Total.*/Total/'",
        "docker volume ls -q",
        "docker system prune -f --volumes --filter until=1h",
        "echo n | docker system prune",
    ],
    "context": [
        "docker context ls --format '{{.Name}}'",
        "docker context create x --docker host=$DOCKER_HOST",
        "env -u DOCKER_HOST docker --context x ps -q",
        "docker context rm x",
        "docker -H unix:///no/such/socket ps",
    ],
    "refused": [
        "docker nosuch",
        "docker swarm leave",
        "docker node ls",
        "docker service ls",
        "docker stack ls",
        "docker secret ls",
        "docker plugin ls",
        "docker container nosuch",
        "docker checkpoint ls box",
    ],
}  # fmt: skip

# What an ordinary account may not do, or not as dockerd does it, which is root.
# What an ordinary user's containers do by other means than root's; the rest is asked once, as root.
OF_ACCOUNTS = ("run_", "attach", "exec", "logs", "cp", "diff", "commit", "build", "volume")
ROOT_ONLY = {
    "network": "networks",
    "pause": "a cgroup with a freezer",
    "port": "networks",
    "system_prune": "networks",
    "update": "a cgroup with limits",
}
