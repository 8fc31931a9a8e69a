#!/usr/bin/env python3
"""Binds each of its arguments (tcp:8080, tcp6:8080, udp:8080) for a moment, and says which of them it may not."""
import errno
import socket
import sys

FAMILY = {"tcp": (socket.AF_INET, socket.SOCK_STREAM), "tcp6": (socket.AF_INET6, socket.SOCK_STREAM)}
FAMILY["udp"] = (socket.AF_INET, socket.SOCK_DGRAM)

for argument in sys.argv[1:]:
    name, port = argument.split(":")
    with socket.socket(*FAMILY[name]) as one:
        try:
            one.bind(("::1" if name == "tcp6" else "127.0.0.2", int(port)))
            print(argument, "open")
        except OSError as error:
            print(argument, errno.errorcode[error.errno])
