"""The documentation site: Sphinx, whose references check every name against the code."""

project = "unfold"
author = "the authors of unfold"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = "unfold"
exclude_patterns = ["_build", "**/work"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"members": True, "show-inheritance": True}
suppress_warnings = ["myst.xref_missing", "ref.python"]
copybutton_prompt_text = "$ "


def setup(app):  # noqa: ANN001, ANN201
    """Let docstrings, which are plain text with formulae, through reStructuredText."""

    def escape(app, what, name, obj, options, lines):  # noqa: ANN001, ANN202
        special = str.maketrans({c: "\\" + c for c in "|*_\\"})
        if what == "attribute":  # not the type before a colon, which napoleon takes it for
            lines[:] = [line.replace(": ", " – ") for line in lines]
        parts = "\n".join(lines).split("`")  # every second one is code
        escaped = (p if k % 2 else p.translate(special) for k, p in enumerate(parts))
        lines[:] = "``".join(escaped).split("\n")
        for i, line in enumerate(lines[:-2]):  # a sentence that introduces code
            if line.endswith(":") and not lines[i + 1] and lines[i + 2].startswith("    "):
                lines[i] += ":"

    app.connect("autodoc-process-docstring", escape, priority=100)
