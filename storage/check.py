from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One impossible state. ``sql`` selects the ``id`` of each row that is in it; ``:grace`` is in seconds."""

    name: str
    meaning: str
    sql: str
