"""The messages of BuildKit's gRPC, as far as a build of docker's clients has them.

Sources: moby/buildkit api/services/control/control.proto, api/types/worker.proto,
frontend/gateway/pb/gateway.proto, util/apicaps/pb/caps.proto, session/auth/auth.proto,
session/secrets/secrets.proto, session/sshforward/ssh.proto; tonistiigi/fsutil types/*.proto.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks

if TYPE_CHECKING:
    from types import SimpleNamespace

FILE_SYNC = "/moby.filesync.v1.FileSync/DiffCopy"
FILE_SEND = "/moby.filesync.v1.FileSend/DiffCopy"
CREDENTIALS = "/moby.filesync.v1.Auth/Credentials"
GET_SECRET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"  # noqa: S105  a method
CHECK_AGENT = "/moby.sshforward.v1.SSH/CheckAgent"
FORWARD_AGENT = "/moby.sshforward.v1.SSH/ForwardAgent"

_TABLES = {
    "pb": """
        message Platform
          1 Architecture string
          2 OS string
          3 Variant string
    """,
    "moby.buildkit.v1.apicaps": """
        message APICap
          1 ID string
          2 Enabled bool
    """,
    "moby.buildkit.v1.types": """
        message BuildkitVersion
          1 package string
          2 version string
          3 revision string
        message WorkerRecord
          1 ID string
          2 Labels {string string}
          3 platforms [.pb.Platform]
          5 buildkitVersion BuildkitVersion
    """,
    "fsutil.types": """
        message Stat
          1 path string
          2 mode uint32
          3 uid uint32
          4 gid uint32
          5 size int64
          6 modTime int64
          7 linkname string
          8 devmajor int64
          9 devminor int64
          10 xattrs {string bytes}
        message Packet
          1 type int32
          2 stat Stat
          3 ID uint32
          4 data bytes
    """,
    "moby.filesync.v1": """
        message BytesMessage
          1 data bytes
        message CredentialsRequest
          1 Host string
        message CredentialsResponse
          1 Username string
          2 Secret string
    """,
    "moby.buildkit.secrets.v1": """
        message GetSecretRequest
          1 ID string
        message GetSecretResponse
          1 data bytes
    """,
    "moby.sshforward.v1": """
        message BytesMessage
          1 data bytes
        message CheckAgentRequest
          1 ID string
        message CheckAgentResponse
    """,
    "moby.buildkit.v1": """
        message Vertex
          1 digest string
          2 inputs [string]
          3 name string
          4 cached bool
          5 started .google.protobuf.Timestamp
          6 completed .google.protobuf.Timestamp
          7 error string
        message VertexStatus
          1 ID string
          2 vertex string
          3 name string
          4 current int64
          5 total int64
          6 timestamp .google.protobuf.Timestamp
          7 started .google.protobuf.Timestamp
          8 completed .google.protobuf.Timestamp
        message VertexLog
          1 vertex string
          2 timestamp .google.protobuf.Timestamp
          3 stream int64
          4 msg bytes
        message VertexWarning
          1 vertex string
          2 level int64
          3 short bytes
        message StatusResponse
          1 vertexes [Vertex]
          2 statuses [VertexStatus]
          3 logs [VertexLog]
          4 warnings [VertexWarning]
        message StatusRequest
          1 Ref string
        message CacheOptionsEntry
          1 Type string
          2 Attrs {string string}
        message CacheOptions
          4 Exports [CacheOptionsEntry]
          5 Imports [CacheOptionsEntry]
        message Exporter
          1 Type string
          2 Attrs {string string}
        message SolveRequest
          1 Ref string
          3 ExporterDeprecated string
          4 ExporterAttrsDeprecated {string string}
          5 Session string
          6 Frontend string
          7 FrontendAttrs {string string}
          8 Cache CacheOptions
          9 Entitlements [string]
          13 Exporters [Exporter]
        message SolveResponse
          1 ExporterResponse {string string}
        message BytesMessage
          1 data bytes
        message ListWorkersRequest
        message ListWorkersResponse
          1 record [.moby.buildkit.v1.types.WorkerRecord]
        message InfoRequest
        message InfoResponse
          1 buildkitVersion .moby.buildkit.v1.types.BuildkitVersion
    """,
    "moby.buildkit.v1.frontend": """
        message PingRequest
        message PongResponse
          1 FrontendAPICaps [.moby.buildkit.v1.apicaps.APICap]
          2 LLBCaps [.moby.buildkit.v1.apicaps.APICap]
          3 Workers [.moby.buildkit.v1.types.WorkerRecord]
        message Ref
          1 id string
        message Result
          1 refDeprecated string
          3 ref Ref
          10 metadata {string bytes}
        message SolveRequest
          2 Frontend string
          3 FrontendOpt {string string}
          5 allowResultReturn bool
        message SolveResponse
          1 ref string
          3 result Result
        message Status
          1 code int32
          2 message string
        message ReturnRequest
          1 result Result
          2 error Status
        message ReturnResponse
    """,
}


@cache
def messages() -> dict[str, SimpleNamespace]:
    """Return the classes of the messages, by package.

    Raises:
        HostLacks: the libraries of the extra ``[grpc]`` are not installed.
    """
    try:
        import grpc  # noqa: F401  both or neither

        from ocimagic.wire.protos import message_classes
    except ImportError as err:
        raise HostLacks(
            "a build of BuildKit's client needs the libraries grpcio and protobuf",
            why=str(err),
            hint="pip install 'ocimagic[grpc]'; or set DOCKER_BUILDKIT=0 for the client",
        ) from err
    return message_classes(_TABLES)
