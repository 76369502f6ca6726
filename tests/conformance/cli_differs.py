"""Where docker's client hears something else from us than from dockerd, and why: our own text.

A text that depends on the client is a dict by its version.
"""

# ruff: noqa: E501

from typing import NamedTuple


class Differs(NamedTuple):
    """One line of a scenario: why it differs, and what of it is ours."""

    line: str
    why: str
    says: dict[str, str | int | dict[str, str | int]]


DIFFERS: dict[str, list[Differs]] = {
    "run_cannot_kept": [
        Differs(
            "docker inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}' box",
            "a start that failed is told to its client and in the events, not kept",
            {"stdout": "created 0\n"},
        ),
    ],
    "attach": [
        Differs(
            "echo word | docker attach box",
            "docker drops what comes after the end of its client's input",
            {"stdout": "got word\n"},
        ),
    ],
    "inspect": [
        Differs(
            "docker inspect -f '{{json .Config.Env}} {{.Config.WorkingDir}} {{.Config.User}}' box",
            "the image's environment comes first; what a user sets wins in both",
            {
                "stdout": '["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","A=b"] /tmp 1000\n'
            },
        ),
        Differs(
            "docker inspect --type image -f '{{.Os}} {{.RepoTags}} {{.RootFS.Type}} {{.Size}}' busybox",
            "docker counts the targets of symlinks as content",
            {"stdout": "linux [busybox:latest] layers 1982371\n"},
        ),
    ],
    "rename": [
        Differs(
            "docker create --name three busybox >/dev/null; docker rename two three",
            "the conflict itself is said, without what it interrupted",
            {
                "stderr": 'Error response from daemon: Conflict. The container name "/three" is already in use by container "<id1>". You have to remove (or rename) that container to be able to reuse that name.\nError: failed to rename container named two\n'
            },
        ),
        Differs(
            "docker rename two 'b@d'",
            "the conflict itself is said, without what it interrupted",
            {
                "stderr": "Error response from daemon: Invalid container name (b@d), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed\nError: failed to rename container named two\n"
            },
        ),
    ],
    "cp": [
        Differs(
            "docker cp d/a box:/no/such/place",
            "the first directory that is not there is named",
            {
                "stderr": {
                    "28": "Error response from daemon: Could not find the file /no in container box\n"
                }
            },
        ),
    ],
    "export_import": [
        Differs(
            "echo nonsense | docker import - back:3",
            "archives are not read by a child process",
            {
                "stderr": "Error response from daemon: this layer is not a valid tar: the tar ends inside a header\n"
            },
        ),
    ],
    "images": [
        Differs(
            "docker images --format '{{.Repository}}:{{.Tag}} {{.Digest}}' other",
            "an image here has a manifest, and so a digest",
            {"stdout": "other:1 sha256:<id2>\n"},
        ),
        Differs(
            "docker images --digests busybox",
            "an image here has a manifest, and so a digest",
            {
                "stdout": "REPOSITORY   TAG   DIGEST   IMAGE ID   CREATED   SIZE\nbusybox   latest   sha256:<id2>   <short1>   <ago>   1.98MB\n"
            },
        ),
    ],
    "tag_rmi": [
        Differs(
            "docker rmi busybox",
            "the container is named",
            {
                "stderr": "Error response from daemon: image busybox:latest is being used by stopped container box\n"
            },
        ),
    ],
    "rmi_used": [
        Differs(
            "docker rmi mine",
            "the container is named",
            {
                "stderr": "Error response from daemon: image mine:latest is being used by stopped container box\n"
            },
        ),
        Differs(
            "docker rmi -f mine",
            "steps of a build are in the build cache, not images of their own",
            {"stdout": "Untagged: mine:latest\nDeleted: sha256:<id1>\n"},
        ),
        Differs(
            "docker images -q -a | wc -l",
            "steps of a build are in the build cache, not images of their own",
            {"stdout": "3\n"},
        ),
    ],
    "history": [
        Differs(
            "docker history mine",
            "history is written in BuildKit's words, as docker does by now",
            {
                "stdout": {
                    "20": 'IMAGE   CREATED   CREATED BY   SIZE   COMMENT\n<short1>   <ago>   CMD ["cat" "/f"]   0B   ocimagic.dockerfile.v0\n<short2>   <ago>   RUN |1 WHAT=none /bin/sh -c echo said $WHAT …   10B   ocimagic.dockerfile.v0\n<short3>   <ago>   ENV A=b   0B   ocimagic.dockerfile.v0\n<short4>   <ago>   ARG WHAT=none   0B   ocimagic.dockerfile.v0\n<short5>   <ago>   layer 0   1.98MB\n',
                    "28": 'IMAGE   CREATED   CREATED BY   SIZE   COMMENT\n<short1>   <ago>   CMD ["cat" "/f"]   0B   ocimagic.dockerfile.v0\n<short2>   <ago>   RUN |1 WHAT=none /bin/sh -c echo said $WHAT …   10B   ocimagic.dockerfile.v0\n<short3>   <ago>   ENV A=b   0B   ocimagic.dockerfile.v0\n<short4>   <ago>   ARG WHAT=none   0B   ocimagic.dockerfile.v0\n<short5>   N/A   layer 0   1.98MB\n',
                }
            },
        ),
        Differs(
            "docker history --no-trunc --format '{{.CreatedBy}}' mine",
            "history is written in BuildKit's words, as docker does by now",
            {
                "stdout": 'CMD ["cat" "/f"]\nRUN |1 WHAT=none /bin/sh -c echo said $WHAT >/f # ocimagic\nENV A=b\nARG WHAT=none\nlayer 0\n'
            },
        ),
    ],
    "save_load": [
        Differs(
            "echo nonsense | docker load",
            "archives are not read by a child process",
            {"stderr": "this archive of images cannot be loaded: the tar ends inside a header\n"},
        ),
    ],
    "image_prune": [
        Differs(
            "docker image prune -f | grep -c '^deleted: sha256'",
            "steps of a build are in the build cache, not images of their own",
            {"stdout": "2\n"},
        ),
    ],
    "build_fails": [
        Differs(
            "printf 'FROM busybox\\nRUN [\"/nosuch\"]\\n' | docker build -",
            "a command that is not there is 127 in builds as in run",
            {
                "code": 127,
                "stderr": {
                    "20": "The command '/nosuch' returned a non-zero code: 127\n",
                    "28": "DEPRECATED: The legacy builder is deprecated and will be removed in a future release.\n   Install the buildx component to build images with BuildKit:\n   https://docs.docker.com/go/buildx/\n\nThe command '/nosuch' returned a non-zero code: 127\n",
                },
            },
        ),
    ],
    "build_instructions": [
        Differs(
            "printf 'FROM base\\nCMD [\"-g\"]\\n' | docker build -",
            "triggers are steps like others",
            {
                "stdout": 'Sending build context to Docker daemon\nStep 1/3 : FROM base\n ---> <short12>\nStep 2/3 : RUN echo built on\nbuilt on\n ---> <short13>\nStep 3/3 : CMD ["-g"]\n ---> <short14>\nSuccessfully built <short14>\n'
            },
        ),
    ],
    "push_pull": [
        Differs(
            "docker pull $REGISTRY/pushed:1",
            "the layer is here, its compressed bytes went with the name",
            {
                "stdout": "1: Pulling from pushed\n<short3>: Pulling fs layer\n<short3>: Verifying Checksum\n<short3>: Download complete\n<short3>: Pull complete\nDigest: sha256:<id2>\nStatus: Downloaded newer image for <registry>/pushed:1\n<registry>/pushed:1\n"
            },
        ),
        Differs(
            "docker push nosuch/none",
            "nothing is told of a push that cannot begin",
            {
                "stdout": "Using default tag: latest\n",
                "stderr": "Error response from daemon: an image does not exist locally with the tag: nosuch/none\n",
            },
        ),
        Differs(
            "docker push $REGISTRY/none:1",
            "nothing is told of a push that cannot begin",
            {
                "stdout": "",
                "stderr": "Error response from daemon: an image does not exist locally with the tag: <registry>/none\n",
            },
        ),
    ],
    "login": [
        Differs(
            "docker push -q $LOCKED/mine",
            "what was refused is named",
            {"stderr": "push access denied for <locked>/mine\n"},
        ),
        Differs(
            "echo wrong | docker login -u teacher --password-stdin $LOCKED",
            "what was refused is named",
            {
                "stderr": "Error response from daemon: <locked> refuses this login: authentication required\n"
            },
        ),
        Differs(
            "docker pull -q $LOCKED/mine",
            "what was refused is named",
            {
                "stderr": "Error response from daemon: pull access denied for <locked>/mine: the repository does not exist, or it is private authentication required\n"
            },
        ),
    ],
    "volume": [
        Differs(
            "docker volume create -d nosuch x",
            "one sentence for both kinds of drivers",
            {"stderr": 'Error response from daemon: plugin "nosuch" not found\n'},
        ),
        Differs(
            "docker rm box >/dev/null; docker volume prune -f | sed 's/^Total.*/Total/'",
            "from API 1.42 on volumes with a name stay; dockerd 20.10 is older",
            {"stdout": {"28": "Total\n"}},
        ),
    ],
    "network": [
        Differs(
            "docker network rm net",
            "the containers in it are named",
            {
                "stderr": {
                    "20": "Error response from daemon: network net has active endpoints: these containers are in it: box\n",
                    "28": "Error response from daemon: network net has active endpoints: these containers are in it: box\nexit status 1\n",
                }
            },
        ),
    ],
    "system_df": [
        Differs(
            "docker system df",
            "what is on disk is counted: blobs, and what is unpacked",
            {
                "stdout": "TYPE   TOTAL   ACTIVE   SIZE   RECLAIMABLE\nImages   1   1   4.112MB   2.13MB (51%)\nContainers   1   0   0B   0B\nLocal Volumes   1   0   0B   0B\nBuild Cache   0   0   0B   0B\n"
            },
        ),
    ],
}
