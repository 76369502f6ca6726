"""Tables of the messages that tell of what runs, and of what happens; see ``tables``."""

RUN = {
    "containerd.v1.types": """
message Process
  1 container_id string
  2 id string
  3 pid uint32
  4 status int32
  5 stdin string
  6 stdout string
  7 stderr string
  8 terminal bool
  9 exit_status uint32
  10 exited_at .google.protobuf.Timestamp
message ProcessInfo
  1 pid uint32
  2 info .google.protobuf.Any
""",
    "io.containerd.cgroups.v1": """
message Metrics
  2 pids PidsStat
  3 cpu CPUStat
  4 memory MemoryStat
message PidsStat
  1 current uint64
  2 limit uint64
message CPUStat
  1 usage CPUUsage
message CPUUsage
  1 total uint64
  2 kernel uint64
  3 user uint64
  4 per_cpu [uint64]
message MemoryStat
  1 cache uint64
  18 total_cache uint64
  33 usage MemoryEntry
message MemoryEntry
  1 limit uint64
  2 usage uint64
  3 max uint64
  4 failcnt uint64
""",
    "containerd.services.containers.v1": """
message Runtime
  1 name string
  2 options .google.protobuf.Any
message Container
  1 id string
  2 labels {string string}
  3 image string
  4 runtime Runtime
  5 spec .google.protobuf.Any
  6 snapshotter string
  7 snapshot_key string
  8 created_at .google.protobuf.Timestamp
  9 updated_at .google.protobuf.Timestamp
  10 extensions {string .google.protobuf.Any}
  11 sandbox string
message GetContainerRequest
  1 id string
message GetContainerResponse
  1 container Container
message ListContainersRequest
  1 filters [string]
message ListContainersResponse
  1 containers [Container]
message ListContainerMessage
  1 container Container
message CreateContainerRequest
  1 container Container
message CreateContainerResponse
  1 container Container
message UpdateContainerRequest
  1 container Container
  2 update_mask .google.protobuf.FieldMask
message UpdateContainerResponse
  1 container Container
message DeleteContainerRequest
  1 id string
""",
    "containerd.services.tasks.v1": """
message CreateTaskRequest
  1 container_id string
  3 rootfs [.containerd.types.Mount]
  4 stdin string
  5 stdout string
  6 stderr string
  7 terminal bool
  8 checkpoint .containerd.types.Descriptor
  9 options .google.protobuf.Any
message CreateTaskResponse
  1 container_id string
  2 pid uint32
message StartRequest
  1 container_id string
  2 exec_id string
message StartResponse
  1 pid uint32
message DeleteTaskRequest
  1 container_id string
message DeleteProcessRequest
  1 container_id string
  2 exec_id string
message DeleteResponse
  1 id string
  2 pid uint32
  3 exit_status uint32
  4 exited_at .google.protobuf.Timestamp
message GetRequest
  1 container_id string
  2 exec_id string
message GetResponse
  1 process .containerd.v1.types.Process
message ListTasksRequest
  1 filter string
message ListTasksResponse
  1 tasks [.containerd.v1.types.Process]
message KillRequest
  1 container_id string
  2 exec_id string
  3 signal uint32
  4 all bool
message ExecProcessRequest
  1 container_id string
  2 stdin string
  3 stdout string
  4 stderr string
  5 terminal bool
  6 spec .google.protobuf.Any
  7 exec_id string
message ResizePtyRequest
  1 container_id string
  2 exec_id string
  3 width uint32
  4 height uint32
message CloseIORequest
  1 container_id string
  2 exec_id string
  3 stdin bool
message PauseTaskRequest
  1 container_id string
message ResumeTaskRequest
  1 container_id string
message ListPidsRequest
  1 container_id string
message ListPidsResponse
  1 processes [.containerd.v1.types.ProcessInfo]
message UpdateTaskRequest
  1 container_id string
  2 resources .google.protobuf.Any
message MetricsRequest
  1 filters [string]
message MetricsResponse
  1 metrics [.containerd.types.Metric]
message WaitRequest
  1 container_id string
  2 exec_id string
message WaitResponse
  1 exit_status uint32
  2 exited_at .google.protobuf.Timestamp
""",
    "containerd.services.events.v1": """
message PublishRequest
  1 topic string
  2 event .google.protobuf.Any
message ForwardRequest
  1 envelope Envelope
message SubscribeRequest
  1 filters [string]
message Envelope
  1 timestamp .google.protobuf.Timestamp
  2 namespace string
  3 topic string
  4 event .google.protobuf.Any
""",
    "containerd.events": """
message NamespaceCreate
  1 name string
message NamespaceDelete
  1 name string
message ContainerCreate
  1 id string
  2 image string
message ContainerDelete
  1 id string
message SnapshotPrepare
  1 key string
  2 parent string
message SnapshotCommit
  1 key string
  2 name string
message SnapshotRemove
  1 key string
message ContentDelete
  1 digest string
message TaskCreate
  1 container_id string
  2 bundle string
  6 pid uint32
message TaskStart
  1 container_id string
  2 pid uint32
message TaskExit
  1 container_id string
  2 id string
  3 pid uint32
  4 exit_status uint32
  5 exited_at .google.protobuf.Timestamp
message TaskDelete
  1 container_id string
  2 pid uint32
  3 exit_status uint32
  4 exited_at .google.protobuf.Timestamp
message TaskExecAdded
  1 container_id string
  2 exec_id string
message TaskExecStarted
  1 container_id string
  2 exec_id string
  3 pid uint32
message TaskPaused
  1 container_id string
message TaskResumed
  1 container_id string
""",
}
