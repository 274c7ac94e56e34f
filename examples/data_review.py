"""A review of data by a person who takes their time: while nobody answers, the run has no process.

In one terminal: ``python examples/data_review.py``, which serves the review. In another::

    flowchan run data-review/examples -p 'celsius=[20.1, 19.8, 740, 20.3]'
    flowchan runs           # it is SUSPENDED; the server may be stopped now, and be started again next week
    flowchan resume <name>  # a form asks what is to become of 740; the server goes on with the run
"""

from __future__ import annotations

import statistics
from typing import Literal

from flowchan import RunInput, flow, get_run_logger, suspend_flow_run


class Review(RunInput):
    """What the reviewer decides."""

    outliers: Literal["drop", "keep"]
    reviewer: str


@flow
async def data_review(celsius: list[float]) -> float:
    """The mean of temperatures, without those that a person takes for a mistake."""
    logger = get_run_logger()
    # After the resume, the flow is executed again from the top: up to the question it should come out the same.
    outliers = unlike_the_others(celsius)
    if outliers:
        listed = "\n".join(f"- {value} °C" for value in outliers)
        logger.info("%d of %d values are to be reviewed", len(outliers), len(celsius))
        # The first time, the run ends here. The second time, this returns the answer.
        review = await suspend_flow_run(
            Review.with_initial_data(description=f"**Are these mistakes?**\n\n{listed}", outliers="drop"),
            timeout=7 * 24 * 3600,
        )
        logger.info("%s says: %s", review.reviewer, review.outliers)
        if review.outliers == "drop":
            celsius = [value for value in celsius if value not in outliers]
    mean = statistics.fmean(celsius)
    logger.info("The mean of %d values is %.2f °C", len(celsius), mean)
    return mean


def unlike_the_others(values: list[float]) -> list[float]:
    middle = statistics.median(values)
    usual = statistics.median(abs(value - middle) for value in values)
    return [value for value in values if abs(value - middle) > 10 * usual]


if __name__ == "__main__":
    data_review.serve(name="examples")
