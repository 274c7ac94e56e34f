"""Others who carry messages: each in an environment of its own, ``python -m benchmarks.peers install``.

A file a peer has what a side of the conversation does, with the standard library and the peer, and nothing of ours
but what a side is told to do (:mod:`benchmarks.orders`) and to say (:mod:`benchmarks.conversation`).
"""
