"""Blocks: what is stored under a name of its own, for any run and any program, until it is deleted."""

from __future__ import annotations
