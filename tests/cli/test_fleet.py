"""The commands beside four workers: they see and end what each worker does, and each worker sees what they did."""

import json
import subprocess
import sys
from contextlib import closing
from http.client import HTTPConnection

from test_checking import Deployed

APP = """
import os
from flask import Flask, request, session
from flask_idlesession import IdleSession, log_in

app = Flask(__name__)
app.config.update(SECRET_KEY=os.environ["TEST_KEY"], IDLESESSION_STORE=os.environ["TEST_STORE"])
IdleSession(app)

@app.get("/in/<user>")
def enter(user):
    log_in(user, labels={"team": request.args.get("team", "none")})
    session["cart"] = ["swordfish"]
    return user

@app.get("/id")
def show_id():
    return str(session.sid)

@app.get("/who")
def who():
    return f"{os.getpid()} {session.get('cart')}"
"""

WAS_THERE = ["swordfish"]


class Fleet(Deployed):
    """Four workers, and the commands beside them."""

    def ask(self, path, cookie=None):
        """Return the text and the cookie of an answer, from any of the workers."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("GET", path, headers={} if cookie is None else {"Cookie": cookie})
            answer = connection.getresponse()
            return answer.read().decode(), (answer.headers["Set-Cookie"] or "").partition(";")[0]

    def are_in(self, cookie):
        """Return whether the workers let the holder of the cookie in. All workers are asked, and agree."""
        told = [self.ask("/who", cookie)[0].split(" ", 1) for _ in range(40)]
        while len({pid for pid, _ in told}) == 1:  # On a busy machine the quickest worker takes them all.
            told.append(self.ask("/who", cookie)[0].split(" ", 1))
        assert len({cart for _, cart in told}) == 1
        return told[0][1] == str(WAS_THERE)

    def run(self, *args, code=0):
        command = [sys.executable, "-m", "flask", "--app", "shop", "idlesession", *args]
        done = subprocess.run(command, cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert "swordfish" not in done.stdout + done.stderr
        return done.stdout

    def json(self, *args):
        return json.loads(self.run(*args, "--json"))


def test_each_command_works_beside_four_workers(tmp_path):
    fleet = Fleet(tmp_path, f"sqlite:///{tmp_path}/db/sessions.db")
    (tmp_path / "shop.py").write_text(APP)
    keys = {fleet.run("gen-key").strip() for _ in range(2)}
    assert [len(bytes.fromhex(key)) for key in keys] == [32, 32]
    fleet.environ["TEST_KEY"] = keys.pop()  # The last command finds no fault with it.
    with fleet.serve("-w", "4"):
        cookies = [fleet.ask(f"/in/user{number % 3}")[1] for number in range(9)]
        sids = [fleet.ask("/id", cookie)[0] for cookie in cookies]
        admin_cookie = fleet.ask("/in/root?team=admin")[1]
        admin = fleet.ask("/id", admin_cookie)[0]
        assert fleet.json("stats")["live"] == 10
        assert fleet.json("stats")["users"] == 4
        assert {each["id"] for each in fleet.json("list")} == {*sids, admin}
        assert {each["id"] for each in fleet.json("list", "--user", "user1")} == set(sids[1::3])
        assert [each["id"] for each in fleet.json("list", "--label", "team=admin")] == [admin]
        assert [key["name"] for key in fleet.json("show", admin)["keys"] if key["name"] == "cart"] == ["cart"]
        assert fleet.run("export", "backup.journal").startswith("Sessions carried: 10.")

        assert fleet.are_in(cookies[0])
        fleet.run("revoke", sids[0], "--yes")
        assert not fleet.are_in(cookies[0])
        assert fleet.run("revoke", "--user", "user1", "--yes") == "3 sessions ended.\n"
        assert not fleet.are_in(cookies[1])
        fleet.run("revoke", "--label", "team=admin", "--yes")
        assert not fleet.are_in(admin_cookie)
        assert fleet.are_in(cookies[2])

        fleet.run("prune")
        target = f"sqlite:///{tmp_path}/db/other.db"
        assert fleet.run("move", fleet.environ["TEST_STORE"], target).startswith("Sessions carried: 5.")
        fleet.run("revoke", "--all", "--yes")
        assert not fleet.are_in(cookies[2])
        assert "Ended meanwhile: 5." in fleet.run("move", fleet.environ["TEST_STORE"], target)
        assert fleet.run("import", "backup.journal").startswith("Sessions carried: 0. Left as they were: 10.")
        assert "Nothing matched" in fleet.run("list")
        assert {each["code"] for each in json.loads(fleet.run("check", "--json"))} <= {"ISW103", "ISW104", "ISW110"}
