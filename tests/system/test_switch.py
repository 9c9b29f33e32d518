"""Four workers are switched to this package one after the other under load: nobody is logged out and no key is lost."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from support.programs import find_program
from support.redis_servers import one_server
from support.servers import postgresql
from support.switching import Site

pytest.importorskip("gunicorn")
pytest.importorskip("flask_session")
pytest.importorskip("flask_sqlalchemy")

KINDS = ["flask", "redis plain", "redis signed", "filesystem", "sqlalchemy"]

#: How many users there are in a quick run, and in a long one.
FEW, MANY = 40, 1000


def server_of(kind: str) -> Any:
    """Return what runs the server that this kind of session needs."""
    if kind.startswith("redis"):
        return one_server(find_program("redis-server"))
    return postgresql() if kind == "sqlalchemy" else nullcontext()


@contextmanager
def a_site(kind: str, names: str, folder: Path, *, users: int) -> Iterator[Site]:
    with server_of(kind) as server:
        url = "" if server is None else server.url
        site = Site(kind, names, folder=folder, url=url, users=users, workers=2 if users == FEW else 4)
        try:
            for worker in site.workers:
                worker.replace("old")
            site.enter_all()
            yield site
        finally:
            site.close()


def told(site: Site) -> str:
    left = sum(user.is_in for user in site.users)
    return f"{dict(site.counts)} answers, {left} of {len(site.users)} users logged in, faults {dict(site.faults)}"


def switch(kind: str, folder: Path, *, users: int) -> None:
    """One name for both cookies; the balancer keeps each user at one worker."""
    with a_site(kind, "same", folder, users=users) as site:
        site.roll("new")
        site.check_all()
        site.check_all()
        site.check_copies()
        print(f"\n{kind}, one name, switched: {told(site)}")
        assert not site.faults, site.first_faults
        assert any(not user.is_in for user in site.users)
        assert all(worker.version == "new" for worker in site.workers)


def switch_back_and_forth(kind: str, folder: Path, *, users: int) -> None:
    """Another name for the new cookie; each request may reach any worker."""
    with a_site(kind, "other", folder, users=users) as site:
        site.roll("new")
        site.check_all()
        site.check_copies()
        print(f"\n{kind}, two names, switched: {told(site)}")
        site.roll("old")
        site.check_all()
        if kind != "flask":  # Flask asks no server: to its older version a copied cookie is as good as ever.
            site.check_copies()
        print(f"{kind}, two names, back: {told(site)}")
        site.roll("new")
        site.check_all()
        site.check_all()
        site.check_copies()
        print(f"{kind}, two names, forth again: {told(site)}")
        assert not site.faults, site.first_faults
        assert any(not user.is_in for user in site.users)


def test_a_rolling_switch_back_and_forth_logs_nobody_out(tmp_path: Path) -> None:
    switch_back_and_forth("redis plain", tmp_path, users=FEW)


def test_a_rolling_switch_logs_nobody_out(tmp_path: Path) -> None:
    switch("flask", tmp_path, users=FEW)


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_a_rolling_switch_of_many_users_logs_nobody_out(kind: str, tmp_path: Path) -> None:
    switch(kind, tmp_path, users=MANY)


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_a_rolling_switch_of_many_users_back_and_forth_logs_nobody_out(kind: str, tmp_path: Path) -> None:
    switch_back_and_forth(kind, tmp_path, users=MANY)
