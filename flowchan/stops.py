"""What stops a run, from outside or because it asked for it: no error, and no ``Exception``.

``StopRun`` passes through ``except Exception`` on its way out of a flow.

.. code-block:: text

    StopRun (BaseException)
    ├── CancelRun        it was cancelled
    ├── SuspendRun       it was suspended: its process ends, and it goes on elsewhere
    └── AbandonRun       it was taken over by somebody else
"""

from __future__ import annotations


class StopRun(BaseException):
    """Leaves a flow from within, past ``except Exception``: the run is to stop."""


class CancelRun(StopRun):
    """The run was cancelled."""


class SuspendRun(StopRun):
    """The run is suspended: its process ends, and it is executed again when it has been resumed."""


class AbandonRun(StopRun):
    """The run is no more this process's."""
