"""Fills a shop with a day of visitors, for the pictures of the dashboard: the same ones each time."""

import heapq
from collections.abc import Callable
from math import cos
from math import pi
from random import Random
from typing import Any

from flask import Flask
from flask import redirect
from flask import session
from werkzeug import Response

from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession.testing import FakeClock

DAY, STEP = 86400, 15
NAMES = (
    "ada",
    "bela",
    "chidi",
    "dana",
    "emre",
    "fatma",
    "goran",
    "hana",
    "ines",
    "jun",
    "kofi",
    "lena",
    "mina",
    "noor",
)
AGENTS = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/142.0.0.0 Mobile Safari/537.36",
)


def shop() -> tuple[Flask, FakeClock]:
    """Return a shop at the end of a busy day, whose dashboard everybody may see, and its clock."""
    clock = FakeClock()
    app = Flask("shop")
    app.config.update(SECRET_KEY="a key for pictures only of 32 B", TESTING=True, IDLESESSION_PAGES="/session")
    app.config.update(SESSION_COOKIE_SAMESITE="Lax", SESSION_COOKIE_SECURE=False)
    IdleSession(app, clock=clock, dashboard=lambda: True)

    @app.get("/")
    def browse() -> str:
        session["seen"] = session.get("seen", 0) + 1
        return "shop"

    @app.get("/in/<name>")
    def enter(name: str) -> Response:
        log_in(name)
        session["cart"], session["theme"] = ["loom", "bobbin"], "dark"
        return redirect("/")

    @app.get("/out")
    def leave() -> Response:
        log_out()
        return redirect("/")

    _live_a_day(app, clock)
    return app, clock


def _live_a_day(app: Flask, clock: FakeClock) -> None:
    random, manager = Random(7), app.extensions["idlesession"].manager
    begin, due = clock(), list[tuple[float, int, Callable[[], Any]]]()
    number = 0

    def later(seconds: float, act: Callable[[], Any]) -> None:
        nonlocal number
        number += 1
        heapq.heappush(due, (clock() + seconds, number, act))

    def go_on(client: Any) -> None:
        if random.random() < 0.09:
            client.get("/out")
        elif random.random() < 0.86:
            client.get("/")
            later(random.expovariate(1 / 240), lambda: go_on(client))

    while clock() < begin + DAY:
        busy = 0.62 - 0.5 * cos(2 * pi * (clock() - begin) / DAY + 1.2)
        for _ in range(int(busy + random.random())):
            client = app.test_client()
            client.environ_base["REMOTE_ADDR"] = f"198.51.{random.randrange(100)}.{random.randrange(250)}"
            client.environ_base["HTTP_USER_AGENT"] = random.choice(AGENTS)
            client.get(f"/in/{random.choice(NAMES)}{random.randrange(60)}" if random.random() < 0.7 else "/")
            later(random.expovariate(1 / 120), lambda client=client: go_on(client))
        if random.random() < 0.01:
            manager.revoke_where(idle_for=900, by="dashboard")
        clock.advance(STEP)
        while due and due[0][0] <= clock():
            heapq.heappop(due)[2]()
        manager.prune()
