"""``flow.three`` once for each way of handling telemetry, each on a queue of its own, whose workers stay up."""

from typing import Final

from benchmarks.flow import Normalise, Order, Price, Summarise
from pipelines import Pipeline

MODULE: Final = __name__


def _three(key: str) -> Pipeline[Order]:
    return Pipeline(
        name=f"bench_{key}",
        types=(f"bench.{key}",),
        schema=Order,
        start=Normalise,
        edges={Normalise: Price, Price: Summarise},
        queue=key,
    )


on = _three("on")
sampled = _three("sampled")
off = _three("off")
dead = _three("dead")
slow = _three("slow")
