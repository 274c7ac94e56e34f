"""A form at a terminal: what a JSON Schema describes, asked field by field.

- ``schema``: reading a schema, which others have written, and holding values against it;
- ``fields``: which fields there are, and how each can be asked;
- ``reading``: from what was typed to a value, and back;
- ``filling``: the way through the fields;
- ``prompts``, ``lines``: how a question reaches a person at a terminal, or is read from a pipe.
"""

from __future__ import annotations

from flowchan.cli.form.filling import fill

__all__ = ["fill"]
