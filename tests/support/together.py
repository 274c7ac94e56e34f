"""Several servers that are one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self


class Together(ABC):
    """Runs within the ``with`` block, on ports of localhost; what has begun is ended, also where the rest does not."""

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _begin(self) -> None:
        """Start all servers, and wait until they are one."""

    @abstractmethod
    def close(self) -> None:
        """End all servers that were started."""
