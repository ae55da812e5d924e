from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel, SecretStr

from settings.model import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingReference:
    """One setting: its variable, its group, what it does, and its value and default as text (secrets masked)."""

    variable: str
    group: str
    name: str
    description: str
    type: str
    default: str
    value: str


def setting_references(settings: Settings | None = None) -> Iterator[SettingReference]:
    """List every setting, with its value in ``settings`` (the defaults where none are given)."""
    prefix = Settings.model_config.get("env_prefix", "")
    defaults = Settings.model_construct()
    for group, field in Settings.model_fields.items():
        model = field.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            continue
        for name, info in model.model_fields.items():
            yield SettingReference(
                variable=f"{prefix}{group}_{name}".upper(),
                group=group,
                name=name,
                description=info.description or "",
                type=_type_name(info.annotation),
                default=_text(getattr(getattr(defaults, group), name)),
                value=_text(getattr(getattr(settings or defaults, group), name)),
            )


def _type_name(annotation: object) -> str:
    text = (
        annotation.__name__ if isinstance(annotation, type) and not hasattr(annotation, "__args__") else str(annotation)
    )
    return text.replace("typing.", "").replace("pydantic.types.", "").replace("NoneType", "None")


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return mask_url(value.get_secret_value())
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    return str(value)


def mask_url(url: str) -> str:
    """Return ``url`` without its password and query; anything else that is secret becomes ``**********``."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "**********"
    # By the last @: a password may hold what should have been quoted.
    credentials, at, server = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    if "/" in user or "?" in user:  # there are no credentials: the @ stands behind the server
        user, colon, at, server = "", "", "", rest
    shown = f"{user}:**********" if colon else user
    return f"{scheme}://{shown}{at}{server.partition('?')[0]}"
