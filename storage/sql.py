from typing import Any

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.types import TypeEngine

FEW = "place = abs(place)"
"""For rows that come from ``unnest(…) WITH ORDINALITY AS …(…, place)``: always true, and to the planner one row.

So it goes from them to the tables by their keys, whatever it believes the tables to hold. Its numbers are a minute late
at best; a plan is kept, though made when the tables were empty; and it then reads a whole table for each statement.
"""


def typed(statement: str, **types: TypeEngine[Any]) -> TextClause:
    """Return ``statement`` with the types of its parameters; the driver casts them, so ``unnest`` knows its columns."""
    return text(statement).bindparams(*(bindparam(name, type_=type_) for name, type_ in types.items()))
