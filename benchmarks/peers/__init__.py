"""Lock services that benchmarks compare: how each is served on loopback, how a client of it goes through a cycle.

Rules that hold here: a server has a directory of its own, deleted at the end, and is ended by its process id; what it
answers is as durable as `Peer.durable` says; a peer that is not installed is left out, never installed; its client
library is loaded by the processes that use it alone.
"""
