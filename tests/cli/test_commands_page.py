"""The page of the commands: what it shows is what they print."""

import re
import shlex
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from flask_idlesession import Ending
from flask_idlesession import EndReason

PAGE = Path(__file__).parents[2] / "docs" / "commands.rst"

_BLOCK = re.compile(r"^\.\. code-block:: console\n\n((?:   .*\n|\n)+)", re.MULTILINE)
_KEY = re.compile(r"^[0-9a-f]{64}$", re.MULTILINE)


def fill(site) -> None:
    site.put(1, "42", idle=12, address="192.0.2.0/24", agent="Firefox 140 on Linux", level="admin", values=CART)
    site.put(2, "42", idle=900, address="198.51.100.0/24", agent="Safari 18 on iPhone")
    ended = Ending(UUID("00000009-0000-4000-8000-000000000000"), EndReason.REVOKED, site.clock() - 300, "42", by="ann")
    site.manager.store.bury([ended], until=site.clock() + 3300)
    site.put(3, idle=60, address="2001:db8:1234::/48", agent="Chrome 139 on Windows")


CART = {"cart": [{"item": 7, "count": 2}], "theme": "dark"}


def shown() -> Iterator[tuple[str, str]]:
    """Yield each command of the page, and what the page says that it prints."""
    for block in _BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        for piece in re.split(r"^   \$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = piece.partition("\n")
            if not command.startswith("flask "):
                continue  # It runs a test, for an hour.
            yield command, re.sub("^   ", "", output, flags=re.MULTILINE).strip()


@pytest.mark.parametrize("site", ["sqlite"], indirect=True)
def test_each_command_prints_what_the_page_shows(site, monkeypatch, tmp_path, redis_server):
    monkeypatch.setenv("COLUMNS", "110")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("flask_idlesession.model.clock.system_clock", site.clock)
    with closing(redis_server.client()) as client:
        client.flushall()
    fill(site)
    commands = list(shown())
    assert len(commands) >= 13
    stands_for = {
        "sqlite:////srv/shop/sessions.db": site.app.config["IDLESESSION_STORE"],
        "redis://127.0.0.1:6379/0": redis_server.url,
    }
    for command, output in commands:
        program, group, *args = shlex.split(command)
        assert (program, group) == ("flask", "idlesession")
        if args[0] == "move":  # The sessions were ended further up on the page.
            fill(site)
        args = [stands_for.get(arg, arg) for arg in args]
        printed = "\n".join(line.rstrip() for line in site.run(*args).output.strip().splitlines())
        for shown_url, url in stands_for.items():
            printed = printed.replace(url, shown_url)
        assert _KEY.sub("<a key>", printed) == _KEY.sub("<a key>", output), command
