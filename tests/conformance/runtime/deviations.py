"""Where Debian's runtimes are known to leave the specification: test -> runtime -> why.

Each entry is a strict expected failure, so the table cannot go stale unseen.  A reason goes for
a whole test, or for some of its parameters.
"""

import functools
import shutil
import subprocess

import pytest

VERSIONS = {"runc": "1.1.5", "crun": "1.8.1"}

_OLD = "written for runtime-spec 1.0: this came with a later one"
_BOTH_OLD = {"runc": _OLD, "crun": _OLD}
_NO_TIME = {
    "runc": "knows no time namespace",
    "crun": "writes the offsets too late: the kernel refuses, and it ends",
}
_LENIENT = "checks types and values only where it uses them"
_IGNORED = "passes over what it does not know"

KNOWN = {
    # -- lifecycle
    "test_create_refuses_characters_outside_of_the_alphabet": {"crun": "takes any name of a file"},
    "test_start_without_a_process_is_an_error": {
        "runc": "asks for process at create",
        "crun": "asks for process at create, as an internal error",
    },
    "test_delete_of_a_created_container": {
        "runc": "kills and deletes it",
        "crun": "kills and deletes it",
    },
    "test_a_failed_create_calls_poststop_hooks": {"crun": "calls none"},
    "test_kill_refuses": {"crun": "takes an unknown signal for signal 0"},
    "test_oci_version_is_needed_and_known": {"runc": "never looks at ociVersion"},
    "test_oci_versions_of_the_1_series": {"crun": {"1.2.1": _OLD, "1.3.0": _OLD}},
    "test_valid_values": {"crun": dict.fromkeys(("value0", "value2", "value3"), _LENIENT)},
    "test_annotations_are_strings": {
        "runc": {"notes1": "null is an empty string for Go"},
        "crun": {"notes2": _LENIENT},
    },
    # -- process
    "test_home_is_the_users": {"crun": {"4242-/": "sets none for a user without an entry"}},
    "test_cwd_must_be_absolute": {"crun": {"a": _LENIENT, ".": _LENIENT}},
    "test_an_unknown_capability_is_a_warning": {"crun": "says nothing"},
    "test_a_capability_that_cannot_be_granted_is_a_warning": {
        "runc": "fails, where the machine's bounding set lacks it",
        "crun": "fails, where the machine's bounding set lacks it",
    },
    "test_rlimits_that_are_errors": {
        "runc": {"words3": "sets a limit twice"},
        "crun": {"words3": "sets a limit twice"},
    },
    "test_io_priority": _BOTH_OLD,
    "test_io_priority_of_no_class": _BOTH_OLD,
    "test_scheduler": _BOTH_OLD,
    "test_scheduler_deadline": _BOTH_OLD,
    "test_scheduler_that_is_none": _BOTH_OLD,
    "test_personality": {"runc": "knows no personality"},
    "test_personality_that_is_none": {
        "runc": "knows no personality",
        "crun": "takes an unknown domain for LINUX",
    },
    "test_a_hook_that_reads_no_state": {"crun": "fails where a hook ends before it is told"},
    "test_no_signal_is_blocked_or_ignored": {"runc": "hands on the mask of its caller"},
    # -- mounts, root
    "test_options_of_the_filesystem": {"runc": "overwrites mode= by that of the directory"},
    "test_an_option_sets_its_flag": {"crun": {"nosymfollow-nosymfollow-None": _IGNORED}},
    "test_an_option_takes_its_flag_back": {
        "crun": dict.fromkeys(
            (
                "ro-rw-ro",
                "nosuid-suid-nosuid",
                "nodev-dev-nodev",
                "noexec-exec-noexec",
                "noatime-atime-noatime",
                "nodiratime-diratime-nodiratime",
            ),
            "clears no flag that an earlier option set",
        )
    },
    "test_every_option_of_the_list_is_known": {
        "runc": {"defaults": "hands it to the file system, where tmpfs refuses"},
        "crun": dict.fromkeys(
            ("iversion", "loud", "noiversion", "nosymfollow", "silent", "symfollow"),
            "hands it to the file system, where tmpfs refuses",
        ),
    },
    "test_a_relative_destination_is_from_the_root": {"runc": "overwrites mode="},
    "test_recursive_options": {
        "crun": {
            "rnoatime-noatime": "does not clear the other atime bits first",
            "rnodiratime-nodiratime": "does not clear the other atime bits first",
            "rnosymfollow-nosymfollow": _IGNORED,
        }
    },
    "test_propagation": {
        "crun": dict.fromkeys(
            (
                "slave-master",
                "shared-shared",
                "unbindable-unbindable",
                "rslave-master",
                "rshared-shared",
                "runbindable-unbindable",
            ),
            "makes everything private at the end",
        )
    },
    "test_mappings_of_a_mount": {"runc": _OLD},
    "test_mappings_of_one_kind_only": {"runc": _OLD},
    "test_rootfs_propagation": {
        "runc": {
            "shared-kinds0": "makes the parent's mount shared, not the root",
            "unbindable-kinds2": "cannot bind the root on itself any more",
        }
    },
    "test_rootfs_propagation_slave": {"crun": "cuts the root off before"},
    "test_rootfs_propagation_that_is_none": {"crun": _LENIENT},
    "test_readonly_paths_keep_their_other_flags": {"crun": "remounts with ro alone"},
    # -- hooks
    "test_all_kinds_in_their_order": {"runc": "calls poststart at create"},
    "test_poststart_comes_after_the_program": {"runc": "calls poststart at create"},
    "test_state_on_stdin": {"crun": {"startContainer": "tells / for the bundle"}},
    "test_status_of_the_state": {
        "runc": {"poststart-running": "calls poststart at create"},
        "crun": {
            "createRuntime-creating": "says created",
            "createContainer-creating": "says created",
            "startContainer-created": "says starting",
        },
    },
    "test_a_failure_of_startcontainer": {
        "runc": "start has returned by then",
        "crun": "start has returned by then",
    },
    "test_a_failure_of_poststart_is_a_warning": {"runc": "ends the container"},
    "test_a_failure_of_poststop_is_a_warning": {"runc": "calls no further hook"},
    "test_path_must_be_absolute": {"crun": {"true": "runs it from where it is called"}},
    # -- namespaces
    "test_a_new_namespace": {name: {"time": why} for name, why in _NO_TIME.items()},
    "test_a_joined_namespace": {name: {"time-flags4": why} for name, why in _NO_TIME.items()},
    "test_time_offsets": _NO_TIME,
    "test_time_offsets_for_the_machine": {"runc": _NO_TIME["runc"], "crun": _IGNORED},
    "test_a_joined_user_namespace": {"runc": "wants maps for a namespace that has its own"},
    "test_domainname": {"runc": _OLD},
    "test_no_name_for_the_machine": {"runc": {"domainname": _OLD}},
    "test_a_relative_path": {"crun": "takes it from where it is called"},
    "test_one_type_twice": {"crun": "takes the last"},
    "test_a_user_namespace_without_mappings": {"crun": "maps the machine's root to itself"},
    # -- devices, cgroups
    "test_files_of_the_root_in_the_way_of_defaults": {
        "runc": "leaves what is there",
        "crun": "leaves what is there",
    },
    "test_something_else_is_there": {
        "runc": "leaves what is there",
        "crun": "leaves what is there",
    },
    "test_devices_that_are_none": {
        "runc": {"device2": "makes no device, and no error"},
        "crun": {"device0": "makes a regular file"},
    },
    "test_a_rule_of_no_access": {"runc": "drops the letters"},
    "test_memory": {
        "runc": {
            "kernelTCP-16777216-memory.kmem.tcp.limit_in_bytes-16777216": "ignores kernel memory"
        }
    },
    "test_memory_swap_below_the_limit": {"crun": "leaves the cgroups of a failed create"},
    "test_cpu": {"runc": {"idle-1-cpu-cpu.idle": "knows cpu.idle on v2 only"}},
    "test_cpu_quota_period_and_burst": _BOTH_OLD,
    "test_a_burst_larger_than_quota": _BOTH_OLD,
    "test_pids_without_limit": {"crun": {"-1": "writes -1, which the kernel refuses"}},
    "test_block_io_weight": {"crun": "writes a file that this kernel calls blkio.bfq.weight"},
    "test_huge_pages": {
        "runc": "looks at v1 only, where the controller is v2's",
        "crun": "refuses a machine where v2 has it: it is hidden from it",
    },
    "test_what_the_machine_cannot_do": {
        "crun": {
            "resources0": "leaves the cgroups of a failed create",
            "resources1": _IGNORED,
            "resources2": "leaves the cgroups of a failed create",
        }
    },
    "test_kill_of_a_paused_container": {"crun": "sends it, and nothing thaws the process"},
    "test_update_refuses": {"crun": "updates what has ended"},
    # -- seccomp
    "test_a_default_that_kills": {"runc": "waits for ever for the process it has killed"},
    "test_flags": {"runc": "says that it has no flags"},
    "test_documents_that_are_errors": {
        "runc": {
            "empty action": _LENIENT,
            "no action": _LENIENT,
            "no names": _LENIENT,
            "errno of kill": _LENIENT,
            "errno of allow": _LENIENT,
            "metadata without listener": _LENIENT,
        },
        "crun": {
            "no names": _LENIENT,
            "notify all": "fails without a word",
            "notify without listener": _LENIENT,
            "metadata without listener": _LENIENT,
        },
    },
    "test_the_listener": {"crun": "tells 0.2.0 for ociVersion"},
    "test_the_listener_without_notify": {"crun": "connects before it knows"},
    # -- exec, commands
    "test_it_is_a_process_like_the_first": {"crun": "by flags it is root, whoever the first is"},
    "test_more_flags": {"crun": "has no --additional-gids"},
    "test_a_process_document": {"runc": "does not set the umask of exec"},
    "test_oom_score_adj_of_exec": {
        "runc": "does not set it for exec",
        "crun": "does not set it for exec",
    },
    "test_a_program_that_cannot_be_run": {
        "crun": {"/etc/passwd-code1": "does not say which program"}
    },
    "test_exec_cpu_affinity": _BOTH_OLD,
    "test_spec_rootless": {"crun": "writes no maps"},
    "test_features": {"crun": _OLD},
    "test_events_stats": {"crun": "has no events"},
    "test_a_caller_that_dies_leaves_a_container_that_can_be_deleted": {
        "runc": "leaves its cgroups",
        "crun": "leaves its cgroups",
    },
}


# What goes wrong now and then only: an expected failure that may pass.
SOMETIMES = {
    "test_exec_on_a_terminal": {"crun": "the program may begin before the size is set"},
    "test_all_kinds_in_their_order": {"crun": "start does not wait for startContainer hooks"},
    "test_a_hook_that_reads_no_state": {"crun": "fails where a hook ends before it is told"},
    "test_no_signal_is_blocked_or_ignored": {"crun": "hands on what its caller ignores"},
    "test_timeout_must_be_positive": {
        "runc": "a hook may be quicker than a time that is over",
        "crun": "takes 0 for none, and fails where a hook ends before it is told",
    },
    "test_it_is_a_process_like_the_first": {
        "runc": "failed once in some twenty runs; its issue 4195 is about limits that Go puts back"
    },
    "test_the_same_id_created_at_once": {"runc": "two at once may remove each other's state"},
}


def mark(runtime, test, parameters):
    """Return the mark of a runtime's test with these parameters ("" for none), or None."""
    if why := SOMETIMES.get(test, {}).get(runtime):
        return pytest.mark.xfail(strict=False, reason=why)
    known = KNOWN.get(test, {}).get(runtime)
    why = known.get(parameters) if isinstance(known, dict) else known
    return pytest.mark.xfail(strict=_is_known_version(runtime), reason=why) if why else None


@functools.cache
def _is_known_version(runtime):
    program = shutil.which(runtime)
    if not program:
        return False
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return VERSIONS[runtime] in told.stdout
