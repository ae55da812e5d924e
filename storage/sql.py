from typing import Any

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.types import TypeEngine


def typed(statement: str, **types: TypeEngine[Any]) -> TextClause:
    """Return ``statement`` with the types of its parameters; the driver casts them, so ``unnest`` knows its columns."""
    return text(statement).bindparams(*(bindparam(name, type_=type_) for name, type_ in types.items()))
