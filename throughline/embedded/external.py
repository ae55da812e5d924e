from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalServer:
    """A server that somebody else runs: known by its URL, which ``setting`` holds, and left as it is."""

    name: str
    url: str = field(repr=False)
    setting: str

    @property
    def place(self) -> str:
        """Host and port, or a socket's path; only the setting's name where it could be a part of the password."""
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError:
            return self.setting
        if "@" in parts.path + parts.query + parts.fragment:
            return self.setting
        if parts.scheme == "unix" and parts.path:
            return parts.path
        if not parts.hostname:
            return self.setting
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return f"{host}:{port}" if port else host
