"""The system calls a container may make when nobody says otherwise: docker's policy as data.

Everything not named here fails with EPERM: kernel modules, swap, keyrings, io_uring,
userfaultfd and more.  Calls that only some capability makes useful are allowed with it.  A
call newer than all of these fails with ENOSYS; that is the work of ``runtime.seccomp``.

One thing is stricter than docker's profile of June 2026, which allows ``socket`` for the
families below 38, for 39, and for all above 40: the filter sees 64 bits of the family and the
kernel reads 32, so 2**32 + 38 is "above 40" to the one and AF_ALG to the other.  Here the
families above 40 are named one by one.

As in docker, ``socketcall`` is allowed: 32-bit programs need it, and its arguments are behind
a pointer where no filter can look.  AF_ALG for 32-bit code is the business of an LSM.

Source: moby/profiles seccomp, https://docs.docker.com/engine/security/seccomp/, CVE-2026-31431.
"""

from __future__ import annotations

import errno
from typing import Literal, NotRequired, TypedDict

from ocimagic.errors import HostLacks

_Operator = Literal["SCMP_CMP_LT", "SCMP_CMP_EQ", "SCMP_CMP_MASKED_EQ"]


class SeccompArg(TypedDict):
    """A condition on one argument of a call (runtime-spec ``LinuxSeccompArg``)."""

    index: int
    value: int
    valueTwo: NotRequired[int]
    op: _Operator


class SeccompRule(TypedDict):
    """What to do on some calls (runtime-spec ``LinuxSyscall``)."""

    names: list[str]
    action: Literal["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"]
    errnoRet: NotRequired[int]
    args: NotRequired[list[SeccompArg]]


class LinuxSeccomp(TypedDict):
    """The seccomp part of a runtime config (runtime-spec ``LinuxSeccomp``)."""

    defaultAction: Literal["SCMP_ACT_ERRNO"]
    defaultErrnoRet: int
    architectures: list[str]
    syscalls: list[SeccompRule]


_FILES = """
access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat
faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32
fchownat fcntl fcntl64 fdatasync flock fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
ftruncate64 futimesat getcwd getdents getdents64 ioctl lchown lchown32 link linkat listmount
_llseek lseek lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat
openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink
readlinkat readv rename renameat renameat2 rmdir sendfile sendfile64 splice stat stat64 statfs
statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64
umask unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice write writev
"""

_ATTRIBUTES = """
fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat
llistxattr lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat
"""

_EVENTS = """
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
epoll_wait_old eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1
inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup
io_submit _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64 select signalfd signalfd4
"""

_MEMORY = """
brk cachestat madvise map_shadow_stack memfd_create memfd_secret mincore mlock mlock2 mlockall
mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free
pkey_mprotect process_mrelease remap_file_pages
"""

# ptrace and its kin since Linux 4.8, which made them unable to leave the filter.
_PROCESSES = """
execve execveat exit exit_group fork getpgid getpgrp getpid getppid getpriority getrlimit
getrusage getsid get_robust_list get_thread_area gettid ioprio_get ioprio_set kill pidfd_open
pidfd_send_signal prctl prlimit64 process_vm_readv process_vm_writev ptrace restart_syscall rseq
sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min
sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity
sched_setattr sched_setparam sched_setscheduler sched_yield setpgid setpriority setrlimit
set_robust_list setsid set_thread_area set_tid_address tgkill tkill ugetrlimit uretprobe vfork
wait4 waitid waitpid
"""

_SIGNALS = """
pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn
"""

_IDENTITY = """
capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid
getresgid32 getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid
setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32
setreuid setreuid32 setuid setuid32
"""

_SANDBOXING = """
landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp
"""

_SOCKETS = """
accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair
"""

_BETWEEN_PROCESSES = """
futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake ipc membarrier mq_getsetattr
mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat
shmctl shmdt shmget
"""

_TIME = """
adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer
time timer_create timer_delete timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
timerfd_settime64 timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
times
"""

_SYSTEM = """
getcpu getrandom sysinfo uname
"""

_ALWAYS = (
    _FILES, _ATTRIBUTES, _EVENTS, _MEMORY, _PROCESSES, _SIGNALS, _IDENTITY, _SANDBOXING, _SOCKETS,
    _BETWEEN_PROCESSES, _TIME, _SYSTEM,
)  # fmt: skip

_BY_CAPABILITY = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYSLOG": "syslog",
    "CAP_SYS_ADMIN": """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie
        lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount
        open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog
        umount umount2 unshare
    """,
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": """
        kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace
    """,
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
}

_BY_ARCH = {
    "x86_64": "arch_prctl modify_ldt",
    "aarch64": """
        arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2
    """,
}

# The kernel's own first; 32-bit programs run in containers too.
_ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}

_AF_ALG = 38
_AF_VSOCK = 40
_AF_MAX = 46  # <linux/socket.h> of Linux 6.18

# PER_LINUX, PER_LINUX32, each also with UNAME26; and 0xffffffff, which only asks.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFF_FFFF)

# CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}: no new namespaces without CAP_SYS_ADMIN.
_NEW_NAMESPACES = 0x7E02_0000


def default_seccomp(capabilities: frozenset[str], arch: str) -> LinuxSeccomp:
    """Return docker's default profile for one container, its conditions resolved.

    Args:
        capabilities: the container's bounding set, in the runtime-spec's words (``CAP_CHOWN``).
        arch: the kernel's machine as ``platform.machine()`` says it.

    Raises:
        HostLacks: another machine than x86_64 and aarch64.
    """
    if arch not in _ARCHITECTURES:
        raise HostLacks(
            f"there is no default seccomp profile for {arch!r} here",
            hint="run without one (--security-opt seccomp=unconfined) if you trust the image",
        )
    names = set(" ".join([*_ALWAYS, _BY_ARCH[arch]]).split())
    for capability in capabilities & _BY_CAPABILITY.keys():
        names.update(_BY_CAPABILITY[capability].split())
    rules: list[SeccompRule] = [
        {"names": sorted(names), "action": "SCMP_ACT_ALLOW"},
        *_socket_rules(),
        *(_allow_first("personality", "SCMP_CMP_EQ", value) for value in _PERSONALITIES),
    ]
    if "CAP_SYS_ADMIN" not in capabilities:
        rules += _clone_rules()
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.EPERM,
        "architectures": list(_ARCHITECTURES[arch]),
        "syscalls": rules,
    }


def _socket_rules() -> list[SeccompRule]:
    """Allow each address family but AF_ALG and AF_VSOCK."""
    others = (family for family in range(_AF_ALG + 1, _AF_MAX) if family != _AF_VSOCK)
    return [
        _allow_first("socket", "SCMP_CMP_LT", _AF_ALG),
        *(_allow_first("socket", "SCMP_CMP_EQ", family) for family in others),
    ]


def _clone_rules() -> list[SeccompRule]:
    """Allow new processes but not new namespaces.

    The flags of clone3 are behind a pointer; told ENOSYS, libc falls back to clone.
    """
    plain: SeccompArg = {
        "index": 0,
        "value": _NEW_NAMESPACES,
        "valueTwo": 0,
        "op": "SCMP_CMP_MASKED_EQ",
    }
    return [
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [plain]},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS},
    ]


def _allow_first(name: str, operator: _Operator, value: int) -> SeccompRule:
    """Allow a call if its first argument compares so."""
    arg: SeccompArg = {"index": 0, "value": value, "op": operator}
    return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": [arg]}
