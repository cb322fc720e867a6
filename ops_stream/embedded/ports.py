"""Loopback ports: which are free, and who holds one that is not."""

from __future__ import annotations

import errno
import random
import socket

import psutil

LOOPBACK = "127.0.0.1"

# Below the range from which systems take the local ends of outgoing connections (32768 on Linux, 49152
# elsewhere): a broker that is down for a moment then finds its port still free when it comes back.
_FIRST, _LAST = 20_000, 32_000


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Say whether a server could listen on `port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose old connections only linger (TIME_WAIT) counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as problem:
            if problem.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def choose(taken: frozenset[int] = frozenset()) -> int:
    """Choose a free loopback port that is not in `taken`."""
    lot = random.SystemRandom()
    for _ in range(1_000):
        port = lot.randint(_FIRST, _LAST)
        if port not in taken and is_free(port):
            return port
    raise OSError(errno.EADDRINUSE, f"no free port between {_FIRST} and {_LAST}")


def holder(port: int) -> str | None:
    """Name the process that listens on `port` ("java, pid 4711"), where the system lets us see it."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return None
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()}, pid {connection.pid}"
            except psutil.Error:
                return f"pid {connection.pid}"
    return None
