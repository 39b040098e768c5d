"""Keeps what is Ray's on this machine, where Ray itself is."""

import sys
from typing import Any


def keep_inside() -> None:
    """In a replica of a Ray instance on loopback: let the port for other replicas' calls be there as well.

    Ray Serve (2.60, `replica.Replica._on_initialized`) opens it to every machine, and has no setting for that.
    """
    replica: Any = sys.modules.get("ray.serve._private.replica")
    if replica is None:
        return
    import ray

    if not ray.is_initialized() or not ray.util.get_node_ip_address().startswith("127."):
        return
    opened = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, where: opened(server, where.replace("[::]", "127.0.0.1"))
