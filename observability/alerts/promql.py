def grown(series: str, window: str, *, by: str) -> str:
    """Write how much a counter whose series appear with their first event has grown within ``window``, ``by`` a label.

    ``increase`` can't see a series' first value. What was not there a window ago, while its target was scraped, has
    grown by all of its value.
    """
    return (
        f"sum by ({by}) (\n"
        f"  (({series} unless {series} offset {window}) and on (job, instance) (up offset {window} == 1))\n"
        f"  or increase({series}[{window}])\n"
        ")"
    )


def due() -> str:
    """Write how many runs are due in all queues; each relay tells the same."""
    return 'sum(max by (queue) (throughline_queue_depth{state="due"}))'
