from pathlib import Path

from throughline.cli.look import settings_markdown

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_configuration_page_is_made_from_the_settings() -> None:
    """``throughline settings --markdown > docs/configuration.md`` brings it up to date."""
    assert PAGE.read_text(encoding="utf-8") == settings_markdown()
