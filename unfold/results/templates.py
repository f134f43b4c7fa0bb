"""The text files that are made of templates, which are in this folder."""

from pathlib import Path
from typing import Any

from unfold.errors import visible


def rendered(name: str, **values: Any) -> str:
    """A template with values; in .html they are escaped, elsewhere made visible, on one line."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=name.endswith(".html"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = lambda v: f"{v:.4g}" if isinstance(v, int | float) else str(v)
    environment.filters["plain"] = lambda value: visible(str(value)).replace("`", "'")
    return environment.get_template(name).render(values)
