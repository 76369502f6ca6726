"""A network that has nothing but ``lo``, for a browser.

On the machine's own network Chromium breaks off whatever it loads when a container's device
comes or goes (net::ERR_NETWORK_CHANGED).  Here it meets none, and nothing that it asks for can
leave the machine: there is only the one port below, whose socket somebody else serves.

Usage: unshare --net [--map-root-user] python island.py SOCKET
"""

import fcntl
import json
import os
import socket
import struct
import sys

IFF_UP, SIOCGIFFLAGS, SIOCSIFFLAGS = 1, 0x8913, 0x8914


def lo_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        asked = struct.pack("16sh", b"lo", 0)
        _, flags = struct.unpack("16sh", fcntl.ioctl(door, SIOCGIFFLAGS, asked))
        fcntl.ioctl(door, SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | IFF_UP))


def main(given):
    """Hand a listening socket over, then keep the network until whoever asked hangs up."""
    lo_up()
    listening = socket.create_server(("127.0.0.1", 0))
    with socket.socket(fileno=given) as asker:
        told = json.dumps({"pid": os.getpid(), "port": listening.getsockname()[1]}).encode()
        socket.send_fds(asker, [told], [listening.fileno()])
        listening.close()
        asker.recv(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
