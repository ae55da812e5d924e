"""Pictures of pipelines: as Mermaid text, and as SVG that needs nothing to be seen."""

from pipelines.drawing.mermaid import mermaid
from pipelines.drawing.picture import Arrow, Figure, Kind, Picture
from pipelines.drawing.reading import picture_of
from pipelines.drawing.svg import svg

__all__ = ["Arrow", "Figure", "Kind", "Picture", "mermaid", "picture_of", "svg"]
