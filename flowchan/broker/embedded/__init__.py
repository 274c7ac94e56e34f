"""The embedded server: one private Valkey or Redis per user and home, shared by all of the user's processes.

It is found or started on demand, keeps its data in ``FLOWCHAN_HOME``, and is stopped by its watchdog when no client is
left. The rooms, from the door inwards:

- ``server``: to have it, to see it, to stop it;
- ``answer``, ``figures``: what a server that runs says of itself;
- ``place``: where its files are, and who may see them;
- ``startup``: finding or starting what is missing, one process at a time;
- ``choice``, ``binary``, ``engine``: which server there is to start, and whose data it can read;
- ``stamp``: who wrote the data that is there;
- ``launch``, ``log``: starting the watchdog, and what became of it.

``watchdog`` is a program of its own. It, and what it shares with the rest, imports the standard library only:

- ``locks``: who may do what just now;
- ``contact``: the server's socket;
- ``environment``: what a server finds around it.
"""

from __future__ import annotations

from flowchan.broker.embedded.answer import Server
from flowchan.broker.embedded.place import Place
from flowchan.broker.embedded.server import ensure, running, stop

__all__ = ["Place", "Server", "ensure", "running", "stop"]
