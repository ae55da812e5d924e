import gc
from typing import Final

_YOUNG: Final = 50_000
_GENERATIONS: Final = 20


def settle() -> None:
    """Let the garbage collector leave alone what the process keeps for good, and look less often at the rest.

    A run's objects live as long as the run, and there are hundreds of runs at a time: by its own thresholds Python goes
    through all of them, and through every module, several times a second. Call it once everything is loaded.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _GENERATIONS, _GENERATIONS)
