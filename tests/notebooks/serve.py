"""JupyterLab on a socket that is listening already.

Usage: python serve.py DESCRIPTOR WORDS...
"""

import socket
import sys

import tornado.tcpserver
from jupyterlab.labapp import main

if __name__ == "__main__":
    listening = socket.socket(fileno=int(sys.argv[1]))
    listening.setblocking(False)
    tornado.tcpserver.bind_sockets = lambda *_args, **_named: [listening]
    main(sys.argv[2:])
