"""Commands that end sessions: those that were meant, once they were asked about."""


def left(site):
    return {each["id"] for each in site.json("list")}


def test_a_session_is_revoked_by_its_id(site):
    one, two = site.put(1, "ada"), site.put(2, "ada")
    result = site.run("revoke", one, "--yes")
    assert result.exit_code == 0 and "1 session ended." in result.stdout
    assert left(site) == {two}


def test_a_user_is_logged_out_everywhere(site):
    site.put(1, "ada"), site.put(2, "ada")
    bob = site.put(3, "bob")
    assert "2 sessions ended." in site.run("revoke", "--user", "ada", "--yes").stdout
    assert left(site) == {bob}


def test_all_criteria_have_to_hold(site):
    site.put(1, "ada", idle=700, level="admin")
    others = {site.put(2, "ada", idle=5, level="admin"), site.put(3, "bob", idle=700)}
    assert site.run("revoke", "--label", "level=admin", "--idle-over", "600", "--yes").exit_code == 0
    assert left(site) == others


def test_all_sessions_end(site):
    site.put(1, "ada"), site.put(2)
    assert site.run("revoke", "--all", "--yes").exit_code == 0
    assert left(site) == set()


def test_nothing_ends_before_yes_was_said(site):
    sid = site.put(1, "ada")
    for answer in ("n\n", ""):
        result = site.run("revoke", sid, input=answer)
        assert result.exit_code == 1 and "End 1 session?" in result.output
    assert left(site) == {sid}
    assert site.run("revoke", sid, input="y\n").exit_code == 0
    assert left(site) == set()


def test_nothing_matched_is_said_and_is_an_exit_code(site):
    site.put(1, "ada")
    for args in (["0b0f5c0e-8a55-4f0c-9a0b-3a4d1c2b5e6f"], ["--user", "eve"], ["--label", "level=x"]):
        result = site.run("revoke", *args)
        assert result.exit_code == 1 and "Nothing matched" in result.output
    assert len(left(site)) == 1


def test_what_is_not_clear_ends_nothing(site):
    sid = site.put(1, "ada")
    for args in ([], [sid, "--all"], [sid, "--user", "ada"], ["--user", "ada", "--all"], ["--label", "level"]):
        assert site.run("revoke", *args, "--yes").exit_code == 2
    assert left(site) == {sid}


def test_the_cookie_of_a_revoked_session_opens_nothing(site):
    from flask import session

    @site.app.get("/")
    def index():
        session["n"] = session.get("n", 0) + 1
        return str(session["n"])

    client = site.app.test_client()
    assert [client.get("/").text for _ in range(2)] == ["1", "2"]
    site.run("revoke", "--all", "--yes")
    assert client.get("/").text == "1"


def test_prune_forgets_what_has_expired(site):
    site.put(1, "ada", idle=1801), site.put(2, "ada")
    assert site.run("prune").stdout.startswith(("1 session had expired", "Nothing matched"))
    assert site.manager.store.next_expiry() != 0.0
    assert "Nothing matched" in site.run("prune").stdout
    assert len(left(site)) == 1
