"""For each test of this folder an edit of the package that breaks what it proves: with it the test fails."""

from support.mutated import Mutation

_NO_ROTATION = (
    "sessions/changes.py",
    "    if intents.user_id is not None:\n        return True\n",
    "",
)
_NO_IDLENESS = ("model/policy.py", "idle_timeout=self.stored(idle_timeout),", "idle_timeout=1e9,")
_LIFETIME = "lifetime_ends_at=now + (self.lifetime if lifetime is None else lifetime)"
_NO_LIFETIME = ("model/policy.py", _LIFETIME, "lifetime_ends_at=now + 1e9")
_ONE_LIFETIME = ("model/policy.py", _LIFETIME, "lifetime_ends_at=now + self.lifetime")
_NO_DELETION = ("sessions/endings.py", "ended = self._store.delete(info.sid)", "ended = True")
_NO_SECURE = (
    "web/interface.py",
    '"secure": self.get_cookie_secure(app) or has_request_context() and request.is_secure,',
    '"secure": False,',
)
_NO_HTTPONLY = ("web/interface.py", '"httponly": self.get_cookie_httponly(app),', '"httponly": False,')
_NO_COOKIE_CHECK = ("settings/keys.py", "    check_cookie(config)\n", "")
_NO_REVOCATION = (
    "sessions/revocation.py",
    "count = self._end_all(self._found(user_id, now=self._lifecycle.now()), keep=keep, by=by)",
    "count = 0",
)
_NO_FRESHNESS = ("accounts/guards.py", "if age is None or age > allowed or", "if age is None or")
_WEAK_SECRET = ("model/ids.py", "return secrets.token_bytes(SECRET_BYTES)", 'return b"s" * SECRET_BYTES')
_ALWAYS_BEGINS = (
    "web/interface.py",
    "request._idlesession = session  # type: ignore[attr-defined]\n",
    'request._idlesession = session  # type: ignore[attr-defined]\n        session.setdefault("seen", 1)\n',
)
_DROPPED = "is not Outcome.EMPTIED:\n            return drop(session, change.delta)\n"
_REVIVED = (
    "is not Outcome.EMPTIED:\n"
    "            self._lifecycle.create(record.apply(change, now=self.now()))\n"
    "            return _KEPT\n"
)
_REAUTH_KEEPS_LIFETIME = (
    "sessions/changes.py",
    "lifetime_ends_at=now + lifetime)",
    "lifetime_ends_at=info.lifetime_ends_at)",
)

_TABLE: list[tuple[str, tuple[str, str, str]]] = [
    # V7
    (
        "test_7_1_1_without_any_setting",
        ("settings/keys.py", '"IDLESESSION_LIFETIME": (86400,', '"IDLESESSION_LIFETIME": (864000,'),
    ),
    (
        "test_7_1_1_the_documented_timeouts",
        ("model/policy.py", '"nist-aal3": (15 * MINUTE', '"nist-aal3": (30 * MINUTE'),
    ),
    (
        "test_7_1_2_a_user_has_no_more",
        ("sessions/revocation.py", "        with self.turns.of(user_id):\n", "        if True:\n"),
    ),
    ("test_7_1_2_or_further", ("sessions/revocation.py", "if excess and self._policy.refuses_log_ins:", "if False:")),
    (
        "test_7_1_3",
        (
            "sessions/revocation.py",
            "all(info.labels.get(name) == value for name, value in labels.items())",
            "not labels",
        ),
    ),
    (
        "test_7_2_1",
        (
            "web/tokens.py",
            "if not any(signer.verify_signature(payload, signature) for signer in self._signers):",
            "if False:",
        ),
    ),
    (
        "test_7_2_2",
        (
            "stores/memory/packed.py",
            "if not _equal(packed[_DIGEST], holder) and not _opens(packed, holder, now):",
            "if False:",
        ),
    ),
    ("test_7_2_3", _WEAK_SECRET),
    ("test_7_2_4_a_log_in", _NO_ROTATION),
    ("test_7_2_4_a_reauthentication", _NO_ROTATION),
    ("test_7_3_1", _NO_IDLENESS),
    ("test_7_3_2", _NO_LIFETIME),
    ("test_7_4_1_after_a_log_out", _NO_DELETION),
    (
        "test_7_4_1_nothing_that_a_request_does",
        ("sessions/requests.py", _DROPPED, _REVIVED),
    ),
    ("test_7_4_2_when_an_account", _NO_REVOCATION),
    (
        "test_7_4_2_a_log_in_that_is_under_way",
        (
            "sessions/revocation.py",
            "                self._lifecycle.end(info, EndReason.REVOKED)\n                return True\n",
            "                return False\n",
        ),
    ),
    (
        "test_7_4_3",
        ("accounts/revoking.py", "    ours.rotate(grace=False)\n    return revoke_user", "    return revoke_user"),
    ),
    (
        "test_7_4_4",
        (
            "accounts/log_in.py",
            "    runtime = current_runtime()\n    current_session().clear()\n",
            "    runtime = current_runtime()\n",
        ),
    ),
    (
        "test_7_4_5",
        (
            "sessions/revocation.py",
            "return self._revoke(EVERYBODY, None, keep=keep, by=by)",
            "return 0",
        ),
    ),
    ("test_7_5_1", _NO_FRESHNESS),
    ("test_7_5_2_users_see", _NO_FRESHNESS),
    (
        "test_7_5_2_nobody_ends",
        (
            "accounts/revoking.py",
            "if user_id is None or sid not in {info.sid for info in sessions_of(user_id)}:",
            "if user_id is None:",
        ),
    ),
    ("test_7_5_3", ("accounts/guards.py", "(level is not None and authentication_level() != level)", "False")),
    ("test_7_6_1", _ONE_LIFETIME),
    ("test_7_6_2_no_session_begins", _ALWAYS_BEGINS),
    ("test_7_6_2_a_session_that_ended", _ALWAYS_BEGINS),
    # V3.3
    ("test_3_3_1_the_cookie_is_secure", _NO_SECURE),
    (
        "test_3_3_1_over_https",
        (
            "web/interface.py",
            "self.get_cookie_secure(app) or has_request_context() and request.is_secure",
            "self.get_cookie_secure(app)",
        ),
    ),
    ("test_3_3_1_a_prefix", _NO_COOKIE_CHECK),
    (
        "test_3_3_2_the_cookie_has",
        ("web/interface.py", '"samesite": self.get_cookie_samesite(app),', '"samesite": None,'),
    ),
    ("test_3_3_2_a_cookie_for_all_sites", _NO_COOKIE_CHECK),
    (
        "test_3_3_3_a_host_cookie_is_of",
        ("web/interface.py", '"domain": self.get_cookie_domain(app),', '"domain": "localhost",'),
    ),
    ("test_3_3_3_a_host_cookie_that", _NO_COOKIE_CHECK),
    ("test_3_3_4", _NO_HTTPONLY),
    (
        "test_3_3_5",
        (
            "web/tokens.py",
            "return self._signers[0].sign(payload).decode()",
            "return self._signers[0].sign(payload * 50).decode()",
        ),
    ),
    # NIST SP 800-63B-4
    ("test_5_1_the_secret_is_made", _NO_ROTATION),
    ("test_5_1_the_secret_has_at_least", _WEAK_SECRET),
    ("test_5_1_the_secret_is_invalidated", _NO_SECURE),
    ("test_5_1_a_session_times_out", ("model/policy.py", '"nist-aal2": (HOUR, DAY)', '"nist-aal2": (HOUR, 2 * DAY)')),
    (
        "test_5_1_the_secret_does_not_outlive",
        ("web/interface.py", "expires=self.get_expiration_time(app, session),", "max_age=3600,"),
    ),
    (
        "test_5_1_a_remembered_session",
        (
            "accounts/log_in.py",
            "chosen_idle, chosen_life = chosen_idle or remembered, chosen_life or remembered",
            "pass",
        ),
    ),
    ("test_5_1_no_cookie_stands_in", _NO_IDLENESS),
    ("test_5_1_there_is_no_way_back", _NO_SECURE),
    ("test_5_1_a_post_carries", ("web/csrf.py", "    if not check_csrf(", "    if False and not check_csrf(")),
    ("test_5_1_1_the_cookie_is_secure", _NO_HTTPONLY),
    (
        "test_5_1_1_the_cookie_is_opaque",
        (
            "web/tokens.py",
            "payload = urlsafe_b64encode(credential.sid.bytes + credential.secret)",
            'payload = urlsafe_b64encode(credential.sid.bytes + credential.secret + b"ada")',
        ),
    ),
    ("test_5_1_1_the_end_of_a_session", _ONE_LIFETIME),
    ("test_5_2_either_timeout", _NO_LIFETIME),
    (
        "test_5_2_activity_resets",
        ("web/activity.py", 'PASSIVE_HEADER = "X-IdleSession-Passive"', 'PASSIVE_HEADER = "X-Other"'),
    ),
    ("test_5_2_reauthentication_resets", _REAUTH_KEEPS_LIFETIME),
    (
        "test_5_2_only_who_is_logged_in",
        (
            "accounts/log_in.py",
            "    if user_id is None:\n        raise PermissionError",
            '    user_id = user_id or "ada"\n    if user_id is None:\n        raise PermissionError',
        ),
    ),
]

MUTATIONS = [Mutation(test, *edit) for test, edit in _TABLE]
