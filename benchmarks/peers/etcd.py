"""etcd by its own lock service, over gRPC: a lease for each client's session, a lock and an unlock for each cycle.

The Python clients for etcd that are kept up leave that service out, so this speaks to it through grpcio.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from benchmarks.peers.peer import Address, Cycle, Peer, accepts, directory, free_ports, lacking, server

DURABLE: Final = "fsync of its write-ahead log"
SESSION_S: Final = 600
"""Longer than any run: no keep-alives take from the cycles."""


@contextmanager
def serve() -> Iterator[Address]:
    port, peer_port = free_ports(2)
    clients, peers = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    with directory() as place:
        command = ["etcd", "--data-dir", str(place / "data"), "--initial-cluster", f"default={peers}"]
        command += ["--listen-client-urls", clients, "--advertise-client-urls", clients]
        command += ["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers]
        with server(command, place, lambda: accepts(port)):
            yield {"port": port}


@contextmanager
def client(address: Address, number: int) -> Iterator[Cycle]:
    import grpc  # noqa: PLC0415

    del number
    messages = grpc.protos("benchmarks/peers/etcd.proto")
    with grpc.insecure_channel(f"127.0.0.1:{address['port']}") as channel:

        def call(path: str, name: str) -> grpc.UnaryUnaryMultiCallable:
            request, response = getattr(messages, f"{name}Request"), getattr(messages, f"{name}Response")
            return channel.unary_unary(path, request.SerializeToString, response.FromString)

        lock, unlock = call("/v3lockpb.Lock/Lock", "Lock"), call("/v3lockpb.Lock/Unlock", "Unlock")
        grant_lease = call("/etcdserverpb.Lease/LeaseGrant", "LeaseGrant")
        lease = grant_lease(messages.LeaseGrantRequest(TTL=SESSION_S), wait_for_ready=True).ID

        def cycle(name: str) -> float:
            key = lock(messages.LockRequest(name=name.encode(), lease=lease)).key
            granted_s = time.perf_counter()
            unlock(messages.UnlockRequest(key=key))
            return granted_s

        yield cycle


ETCD: Final = Peer("etcd", DURABLE, lambda: lacking("grpc_tools", "etcd"), serve, client)
