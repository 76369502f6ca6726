"""Landlock: a process that gives up what is outside of one directory, root or not.

See also: landlock(7); Linux Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import os
import struct

from ocimagic.linux import syscalls

_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH = 1
# Kinds of access to files that each version knows: LANDLOCK_ACCESS_FS_*.
_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_SCOPED_SINCE = 6
_ABSTRACT_SOCKETS_AND_SIGNALS = 3


def version() -> int:
    """Return which version the kernel has, 0 for none: landlock_create_ruleset(2)."""
    try:
        return syscalls.call("landlock_create_ruleset", 0, 0, _VERSION)
    except OSError:
        return 0


def confine(directory: int) -> int:
    """Let this process and its children open nothing that is not below a directory.

    From version 6 on it sends no signal, and connects to no abstract socket, of who is not
    confined with it.  It must have no_new_privs set.

    Args:
        directory: open.

    Returns:
        The kernel's version; with 0 nothing was given up.

    Raises:
        OSError: the kernel has Landlock and refuses.
    """
    found = version()
    if not found:
        return 0
    files = _FILES[max(each for each in _FILES if each <= found)]
    scoped = _ABSTRACT_SOCKETS_AND_SIGNALS if found >= _SCOPED_SINCE else 0
    # struct landlock_ruleset_attr: handled_access_fs, handled_access_net, scoped
    attr = struct.pack("3Q", files, 0, scoped)[: 24 if scoped else 8]
    rules = syscalls.call("landlock_create_ruleset", attr, len(attr), 0)
    try:
        # struct landlock_path_beneath_attr, packed: allowed_access, parent_fd
        rule = struct.pack("=Qi", files, directory)
        syscalls.call("landlock_add_rule", rules, _PATH_BENEATH, rule, 0)
        syscalls.call("landlock_restrict_self", rules, 0)
    finally:
        os.close(rules)
    return found
