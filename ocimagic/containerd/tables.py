"""Tables of the messages that tell of what is kept: see ``wire.protos`` for their form."""

KEPT = {
    "google.protobuf": """
message FieldMask
  1 paths [string]
""",
    "google.rpc": """
message Status
  1 code int32
  2 message string
""",
    "containerd.types": """
message Descriptor
  1 media_type string
  2 digest string
  3 size int64
  5 annotations {string string}
message Mount
  1 type string
  2 source string
  3 target string
  4 options [string]
message Platform
  1 os string
  2 architecture string
  3 variant string
message Metric
  1 timestamp .google.protobuf.Timestamp
  2 id string
  3 data .google.protobuf.Any
""",
    "containerd.services.version.v1": """
message VersionResponse
  1 version string
  2 revision string
""",
    "containerd.services.namespaces.v1": """
message Namespace
  1 name string
  2 labels {string string}
message GetNamespaceRequest
  1 name string
message GetNamespaceResponse
  1 namespace Namespace
message ListNamespacesRequest
  1 filter string
message ListNamespacesResponse
  1 namespaces [Namespace]
message CreateNamespaceRequest
  1 namespace Namespace
message CreateNamespaceResponse
  1 namespace Namespace
message UpdateNamespaceRequest
  1 namespace Namespace
  2 update_mask .google.protobuf.FieldMask
message UpdateNamespaceResponse
  1 namespace Namespace
message DeleteNamespaceRequest
  1 name string
""",
    "containerd.services.introspection.v1": """
message Plugin
  1 type string
  2 id string
  3 requires [string]
  4 platforms [.containerd.types.Platform]
  5 exports {string string}
  6 capabilities [string]
  7 init_err .google.rpc.Status
message PluginsRequest
  1 filters [string]
message PluginsResponse
  1 plugins [Plugin]
message ServerResponse
  1 uuid string
  2 pid uint64
  3 pidns uint64
""",
    "containerd.services.images.v1": """
message Image
  1 name string
  2 labels {string string}
  3 target .containerd.types.Descriptor
  7 created_at .google.protobuf.Timestamp
  8 updated_at .google.protobuf.Timestamp
message GetImageRequest
  1 name string
message GetImageResponse
  1 image Image
message CreateImageRequest
  1 image Image
message CreateImageResponse
  1 image Image
message UpdateImageRequest
  1 image Image
  2 update_mask .google.protobuf.FieldMask
message UpdateImageResponse
  1 image Image
message ListImagesRequest
  1 filters [string]
message ListImagesResponse
  1 images [Image]
message DeleteImageRequest
  1 name string
  2 sync bool
message ImageCreate
  1 name string
  2 labels {string string}
message ImageUpdate
  1 name string
  2 labels {string string}
message ImageDelete
  1 name string
""",
    "containerd.services.content.v1": """
message Info
  1 digest string
  2 size int64
  3 created_at .google.protobuf.Timestamp
  4 updated_at .google.protobuf.Timestamp
  5 labels {string string}
message InfoRequest
  1 digest string
message InfoResponse
  1 info Info
message UpdateRequest
  1 info Info
  2 update_mask .google.protobuf.FieldMask
message UpdateResponse
  1 info Info
message ListContentRequest
  1 filters [string]
message ListContentResponse
  1 info [Info]
message DeleteContentRequest
  1 digest string
message ReadContentRequest
  1 digest string
  2 offset int64
  3 size int64
message ReadContentResponse
  1 offset int64
  2 data bytes
message Status
  1 started_at .google.protobuf.Timestamp
  2 updated_at .google.protobuf.Timestamp
  3 ref string
  4 offset int64
  5 total int64
  6 expected string
message StatusRequest
  1 ref string
message StatusResponse
  1 status Status
message ListStatusesRequest
  1 filters [string]
message ListStatusesResponse
  1 statuses [Status]
message WriteContentRequest
  1 action int32
  2 ref string
  3 total int64
  4 expected string
  5 offset int64
  6 data bytes
  7 labels {string string}
message WriteContentResponse
  1 action int32
  2 started_at .google.protobuf.Timestamp
  3 updated_at .google.protobuf.Timestamp
  4 offset int64
  5 total int64
  6 digest string
message AbortRequest
  1 ref string
""",
    "containerd.services.snapshots.v1": """
message Info
  1 name string
  2 parent string
  3 kind int32
  4 created_at .google.protobuf.Timestamp
  5 updated_at .google.protobuf.Timestamp
  6 labels {string string}
message PrepareSnapshotRequest
  1 snapshotter string
  2 key string
  3 parent string
  4 labels {string string}
message PrepareSnapshotResponse
  1 mounts [.containerd.types.Mount]
message ViewSnapshotRequest
  1 snapshotter string
  2 key string
  3 parent string
  4 labels {string string}
message ViewSnapshotResponse
  1 mounts [.containerd.types.Mount]
message MountsRequest
  1 snapshotter string
  2 key string
message MountsResponse
  1 mounts [.containerd.types.Mount]
message RemoveSnapshotRequest
  1 snapshotter string
  2 key string
message CommitSnapshotRequest
  1 snapshotter string
  2 name string
  3 key string
  4 labels {string string}
message StatSnapshotRequest
  1 snapshotter string
  2 key string
message StatSnapshotResponse
  1 info Info
message UpdateSnapshotRequest
  1 snapshotter string
  2 info Info
  3 update_mask .google.protobuf.FieldMask
message UpdateSnapshotResponse
  1 info Info
message ListSnapshotsRequest
  1 snapshotter string
  2 filters [string]
message ListSnapshotsResponse
  1 info [Info]
message UsageRequest
  1 snapshotter string
  2 key string
message UsageResponse
  1 size int64
  2 inodes int64
message CleanupRequest
  1 snapshotter string
""",
    "containerd.services.diff.v1": """
message ApplyRequest
  1 diff .containerd.types.Descriptor
  2 mounts [.containerd.types.Mount]
message ApplyResponse
  1 applied .containerd.types.Descriptor
message DiffRequest
  1 left [.containerd.types.Mount]
  2 right [.containerd.types.Mount]
  3 media_type string
  4 ref string
  5 labels {string string}
message DiffResponse
  3 diff .containerd.types.Descriptor
""",
    "containerd.services.leases.v1": """
message Lease
  1 id string
  2 created_at .google.protobuf.Timestamp
  3 labels {string string}
message CreateRequest
  1 id string
  3 labels {string string}
message CreateResponse
  1 lease Lease
message DeleteRequest
  1 id string
  2 sync bool
message ListRequest
  1 filters [string]
message ListResponse
  1 leases [Lease]
message Resource
  1 id string
  2 type string
message AddResourceRequest
  1 id string
  2 resource Resource
message DeleteResourceRequest
  1 id string
  2 resource Resource
message ListResourcesRequest
  1 id string
message ListResourcesResponse
  1 resources [Resource]
""",
}
