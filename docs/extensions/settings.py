"""Puts the reference of the settings where a page says ``.. settings::``."""

from typing import Any

import setting_examples
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from flask_idlesession.settings import keys


class SettingsDirective(SphinxDirective):
    """``.. settings::`` stands for all of the settings, in sections."""

    def run(self) -> list[nodes.Node]:
        """Return a section for each group."""
        self.env.note_dependency(keys.__file__)
        self.env.note_dependency(str(setting_examples.SOURCE))
        sections: list[nodes.Node] = []
        for group in setting_examples.GROUPS:
            title = group["title"]
            section = nodes.section(ids=[nodes.make_id(title)], names=[title])
            section += nodes.title(title, title)
            section += self.parse_text_to_nodes("\n".join([group["text"], *setting_examples.lines_of(group)]))
            sections.append(section)
        return sections


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx of the directive."""
    app.add_directive("settings", SettingsDirective)
    return {"parallel_read_safe": True}
