"""``flowchan completion``: what a shell needs to complete the commands and their options."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.completion import ShellDetectionError

from flowchan.errors import FlowchanError


def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish"] | None, Parameter(help="By default the one that this is run from.")
    ] = None,
    /,
    *,
    install: Annotated[
        bool, Parameter(negative="", show_default=False, help="Write it where the shell looks for it, for good.")
    ] = False,
) -> None:
    """Print the script that makes a shell complete commands and their options.

    For this session:

        eval "$(flowchan completion bash)"
    """
    from flowchan.cli.app import app  # noqa: PLC0415 - it is what imports this module

    try:
        if install:
            print(f"Written to {app.install_completion(shell=shell)}. New shells will complete.")
        else:
            print(app.generate_completion(shell=shell))
    except ShellDetectionError:
        raise FlowchanError(
            "It cannot be told which shell this is: name it, as in `flowchan completion bash`."
        ) from None
    except OSError as error:
        raise FlowchanError(f"The script cannot be written: {error.strerror} ({error.filename}).") from None
