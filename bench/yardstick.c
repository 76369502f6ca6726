/* The kernel's share of starting a container: the same calls as our runtime, in C, in one process.
 *
 * yardstick LOWER SCRATCH ROUNDS: LOWER is a root directory with /bin/true, SCRATCH a directory on
 * a real disk.  Each round clones into namespaces, stacks an overlay, mounts what docker mounts,
 * makes the devices, masks, pivots, drops capabilities, loads a filter, executes /bin/true with its
 * output in a pipe, drains and waits.  Prints the median in seconds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void must(long result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "yardstick: %s: %s\n", what, strerror(errno));
        _exit(1);
    }
}

static const char *const masked[] = {"proc/kcore", "proc/keys", "proc/timer_list", "proc/acpi",
    "proc/scsi", "sys/firmware", "sys/devices/virtual/powercap", NULL};
static const char *const readonly[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys",
    "proc/sysrq-trigger", NULL};
static const struct { const char *name; int major, minor; } nodes[] = {{"null", 1, 3}, {"zero", 1, 5},
    {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};

static void furnish(void)
{
    mkdir("proc", 0755); mkdir("sys", 0755); mkdir("dev", 0755);
    must(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), "proc");
    must(mount("tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755,size=65536k"), "dev");
    must(mkdir("dev/pts", 0755) | mkdir("dev/shm", 0755) | mkdir("dev/mqueue", 0755), "mkdir");
    must(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"), "pts");
    must(mount("sysfs", "sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL), "sys");
    must(mount("mqueue", "dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), "mqueue");
    must(mount("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=65536k"), "shm");
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        char path[64];
        snprintf(path, sizeof path, "dev/%s", nodes[i].name);
        must(mknod(path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)), path);
    }
    must(symlink("pts/ptmx", "dev/ptmx") | symlink("/proc/self/fd", "dev/fd"), "links");
    for (const char *const *path = masked; *path; path++) {
        struct stat found;
        if (stat(*path, &found) < 0)
            continue;
        if (S_ISDIR(found.st_mode))
            must(mount("tmpfs", *path, "tmpfs", MS_RDONLY, "nr_blocks=1,nr_inodes=1"), *path);
        else
            must(mount("dev/null", *path, NULL, MS_BIND, NULL), *path);
    }
    for (const char *const *path = readonly; *path; path++)
        if (mount(*path, *path, NULL, MS_BIND | MS_REC, NULL) == 0)
            must(mount(NULL, *path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), *path);
}

static void restrict_self(void)
{
    for (int bit = 0; bit <= CAP_LAST_CAP; bit++)
        if (bit > 18)
            prctl(PR_CAPBSET_DROP, bit);
    struct sock_filter program[1002];
    for (size_t i = 0; i < 1000; i++)  /* as long as docker's profile compiled */
        program[i] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0);
    program[1000] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog filter = {1001, program};
    must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter), "seccomp");
}

static void init(const char *lower, const char *scratch, int out)
{
    char options[4096], root[2048];
    snprintf(root, sizeof root, "%s/root", scratch);
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s/upper,workdir=%s/work", lower, scratch, scratch);
    setsid();
    must(mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL), "private");
    must(mount("overlay", root, "overlay", 0, options), "overlay");
    must(chdir(root), "chdir");
    furnish();
    must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(umount2(".", MNT_DETACH), "umount");
    must(chdir("/") | sethostname("yardstick", 9), "chdir");
    dup2(out, 1); dup2(out, 2);
    restrict_self();
    must(syscall(SYS_close_range, 3, ~0U, 0), "close_range");
    execl("/bin/true", "true", (char *)NULL);
    must(-1, "/bin/true");
}

static double round_trip(const char *lower, const char *scratch)
{
    struct timespec began, ended;
    int ends[2], status;
    char byte;
    clock_gettime(CLOCK_MONOTONIC, &began);
    must(pipe2(ends, O_CLOEXEC), "pipe");
    struct clone_args how = {.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET,
        .exit_signal = SIGCHLD};
    long child = syscall(SYS_clone3, &how, sizeof how);
    must(child, "clone3");
    if (child == 0)
        init(lower, scratch, ends[1]);
    close(ends[1]);
    while (read(ends[0], &byte, 1) > 0)
        ;
    close(ends[0]);
    must(waitpid(child, &status, 0), "wait");
    must(status ? -1 : 0, "exit code");
    clock_gettime(CLOCK_MONOTONIC, &ended);
    return ended.tv_sec - began.tv_sec + (ended.tv_nsec - began.tv_nsec) / 1e9;
}

static int ascending(const void *one, const void *other)
{
    double difference = *(const double *)one - *(const double *)other;
    return (difference > 0) - (difference < 0);
}

int main(int argc, char **argv)
{
    if (argc != 4 || atoi(argv[3]) < 1 || atoi(argv[3]) > 1000) {
        fprintf(stderr, "usage: yardstick LOWER SCRATCH ROUNDS (1 to 1000)\n");
        return 2;
    }
    int rounds = atoi(argv[3]);
    double times[1000];
    const char *const names[] = {"root", "upper", "work"};
    for (int i = 0; i < 3; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", argv[2], names[i]);
        mkdir(path, 0755);
    }
    for (int i = 0; i < rounds; i++)
        times[i] = round_trip(argv[1], argv[2]);
    qsort(times, rounds, sizeof *times, ascending);
    printf("%.6f\n", times[rounds / 2]);
    return 0;
}
