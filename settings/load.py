import difflib
import os
from collections.abc import Mapping

from pydantic import ValidationError

from settings.model import Settings
from settings.reference import setting_references


class SettingsError(ValueError):
    """A setting is wrong."""


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: a value is invalid, or a ``THROUGHLINE_`` variable is not a setting; one line a mistake, the
            variable named, the value never shown.

    """
    _refuse_unknown(os.environ)
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("; ".join(_describe(item["loc"], item["msg"]) for item in error.errors())) from None


def _describe(location: tuple[int | str, ...], message: str) -> str:
    variable = "THROUGHLINE_" + "_".join(str(part) for part in location[:2]).upper()
    return f"{variable}: {message.removeprefix('Value error, ')}"


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    known = {reference.variable for reference in setting_references()}
    problems = []
    for name in sorted(environment):
        if name.startswith("THROUGHLINE_") and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            problems.append(f"{name}: no such setting" + (f" (did you mean {close[0]}?)" if close else ""))
    if problems:
        raise SettingsError("; ".join(problems))
