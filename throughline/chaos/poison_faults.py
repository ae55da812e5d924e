import signal
from functools import partial

from throughline.chaos.audit import FINAL
from throughline.chaos.ledger import Sent
from throughline.chaos.looks import statuses
from throughline.chaos.scene import Fault, Scene
from throughline.chaos.stack import THREADS

_NEIGHBOURS = 20
_ACCEPTED_WITHIN = 5.0
_IN_TURN = 180.0
"""Seconds until a killer must have ended: the cell runs one at a time, also those whom it made suspects before."""


def _poison(scene: Scene, *, kind: str, exits: frozenset[int]) -> None:
    """A run that kills its process, or only fails, beside others: recovered when it and all of them have ended.

    How each must end is the audit's to compare. ``exits``: the codes with which its victims may end.
    """
    for name in THREADS if kind == "loop" else ():
        scene.stack.restart(name)  # an earlier fault may have given it patience with a loop that stands still
    scene.stack.expected_ends = exits
    sent = scene.load.burst(_NEIGHBOURS, wait=1.0)
    sent += scene.load.burst(1, type_="chaos.poisonous", poison=kind)
    scene.healed()
    scene.missing = partial(still_open, scene, sent)
    promised = scene.stack.wait(_ACCEPTED_WITHIN, until=lambda: all(one.accepted for one in sent))
    scene.prove(promised, "the killer or a neighbour was not accepted")


def still_open(scene: Scene, sent: list[Sent]) -> list[str]:
    """Return the types of those events whose runs have not ended."""
    ended = {ce_id for ce_id, status in statuses(scene.stack.postgres, sent).items() if status in FINAL}
    return sorted({one.type for one in sent if one.accepted and one.ce_id not in ended})


def _fault(kind: str, *exits: int, only_full: bool = True) -> Fault:
    inject = partial(_poison, kind=kind, exits=frozenset(exits))
    return Fault(name=f"poison-{kind}", inject=inject, limit=_IN_TURN if exits else 60.0, only_full=only_full)


FAULTS = (
    _fault("exit", 1, only_full=False),
    _fault("segfault", -signal.SIGSEGV),
    _fault("loop", 1),
    _fault("oom", -signal.SIGKILL),
    _fault("memory", only_full=False),
)
