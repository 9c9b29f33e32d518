"""For each habit of applications from elsewhere (A1 to A26) an edit that breaks it, and the test that notices."""

from support.mutated import Mutation

_SIGNERS, _SESSION, _GUARDS = "web/signers.py", "sessions/session.py", "accounts/guards.py"
_LOG_IN, _FLASK_LOGIN = "accounts/log_in.py", "integrations/flask_login.py"

#: By the row: the tests, and what each of them notices.
TABLE: dict[str, list[tuple[str, str, str, str]]] = {
    "A1": [
        (
            "test_a_weak_key_is_told_once",
            _SIGNERS,
            "                self._warn(app, weaknesses_of(self.tokens.keys))\n",
            "                assert not any(weaknesses_of(self.tokens.keys))\n",
        ),
        (
            "test_a_weak_key_among_the_former_ones",
            _SIGNERS,
            "self._warn(app, weaknesses_of(self.tokens.keys))",
            "self._warn(app, weaknesses_of(self.tokens.keys[-1:]))",
        ),
    ],
    "A2": [
        (
            "test_a_user_with_a_stale_cookie",
            "web/interface.py",
            "live = credentials if len(credentials) == 1 else runtime.requests.those_alive(credentials)",
            "live = credentials",
        )
    ],
    "A3": [
        (
            "test_a_template_finds_the_applications_key",
            _SESSION,
            '    def clear(self) -> None:\n        """Empty',
            '    user_id = info = record = "ours"\n\n    def clear(self) -> None:\n        """Empty',
        )
    ],
    "A4": [
        (
            "test_a_permanent_lifetime_of_years",
            "settings/cookie.py",
            "return min(asked, LONGEST_COOKIE), asked > LONGEST_COOKIE",
            "return asked, asked > LONGEST_COOKIE",
        )
    ],
    "A5": [
        (
            "test_a_permanent_lifetime_that_each_request_sets",
            "web/interface.py",
            "            self._follow_lifetime(lifetime, refreshes, runtime)\n",
            "            pass\n",
        )
    ],
    "A6": [
        (
            "test_a_permanent_session_that_the_idle_timeout_ends_first",
            "sessions/remarks.py",
            "if session._idle_timeout == policy.idle_timeout_for(session._user_id):",
            "if False:",
        )
    ],
    "A7": [
        (
            "test_a_setting_of_another_package",
            "settings/keys.py",
            "in foreign_settings(config, known=KEYS):",
            "in ():",
        )
    ],
    "A8": [
        (
            "test_a_tag_that_was_registered_before",
            "extension.py",
            "        self.codec.take_over(tags_of(app.session_interface))\n",
            "",
        ),
        (
            "test_a_tag_is_registered_with_an_index",
            "model/codec.py",
            "is_early = index is not None",
            "is_early = False",
        ),
    ],
    "A9": [
        (
            "test_the_modified_flag_tells",
            _SESSION,
            "return self._modified or bool(self._delta())",
            "return self._modified",
        ),
        (
            "test_a_session_of_flask_socketio",
            "web/current.py",
            'if kind.__module__.partition(".")[0] == "flask_socketio":',
            "if False:",
        ),
    ],
    "A10": [
        (
            "test_a_log_out_is_final_in_spite_of_a_remember_cookie",
            _LOG_IN,
            "        runtime.logins.forget()\n",
            "        pass\n",
        ),
        (
            "test_a_log_out_is_final_in_spite_of_a_remember_cookie",
            _FLASK_LOGIN,
            "        self.forget()\n        if current_user_id() is not None or",
            "        if current_user_id() is not None or",
        ),
    ],
    "A11": [
        (
            "test_a_log_in_is_confirmed_where_nobody",
            _FLASK_LOGIN,
            "        if not _has_user():\n            return\n        if current_user_id() is None:",
            "        if current_user_id() is None:",
        ),
        (
            "test_another_module_that_is_called_flask_login",
            "extension.py",
            "        except ImportError:  # Something else",
            "        except ZeroDivisionError:  # Something else",
        ),
    ],
    "A12": [
        (
            "test_a_guard_leads_a_user_to_the_log_in_page",
            _GUARDS,
            "    if _is_for_a_script():\n        abort(_told(log_in_url))\n",
            "",
        )
    ],
    "A13": [
        ("test_without_the_extension_a_function", "web/current.py", "    if state is None:\n", "    if False:\n"),
    ],
    "A14": [
        ("test_a_guard_above_its_route", "web/interface.py", "        place_guards(app, runtime.notices)\n", ""),
    ],
    "A15": [
        (
            "test_a_visitor_with_a_dead_token",
            "sessions/log_outs.py",
            "return facts.came_at <= logged_out_at",
            "return True",
        )
    ],
    "A16": [
        (
            "test_an_assignment_of_a_stream",
            "sessions/values.py",
            "        self._is_late = True\n        if self._live",
            "        if self._live",
        )
    ],
    "A17": [
        (
            "test_a_value_that_cannot_be_decoded_is_no_500",
            "sessions/values.py",
            "            except KeyError:\n                continue\n",
            "            except ZeroDivisionError:\n                continue\n",
        )
    ],
    "A18": [
        (
            "test_a_user_who_is_a_number_is_a_text",
            _LOG_IN,
            "    return str(user_id)\n",
            "    return user_id\n",
        )
    ],
    "A19": [
        (
            "test_no_statement_of_sqlite_has_a_numbered_place",
            "stores/sqlite/statements.py",
            'due_at FROM {session} WHERE sid = ?"',
            'due_at FROM {session} WHERE sid = ?1"',
        )
    ],
    "A20": [
        (
            "test_a_url_that_cannot_be_used_is_told_why",
            "stores/__init__.py",
            'package = _PACKAGES.get(error.name or "", error.name)',
            "package = error.name",
        ),
        (
            "test_a_url_that_cannot_be_used_is_told_why",
            "model/messages.py",
            'return f"{scheme}{user}:***@{after}" if colon',
            "return url if colon",
        ),
        (
            "test_a_misspelt_setting_does_not_show",
            "settings/keys.py",
            'f"There is no setting {key}; did you mean {near}? [ISE017]"',
            'f"There is no setting {key} = {config[key]!r}; did you mean {near}? [ISE017]"',
        ),
        (
            "test_a_type_of_another_package_is_not_called",
            "model/recipes.py",
            'return f"{package}.{name}" if is_known else name',
            "return name",
        ),
    ],
    "A21": [
        (
            "test_a_relative_path_of_sqlite",
            "stores/__init__.py",
            "return SQLiteStore(folder / path_of(url),",
            "return SQLiteStore(folder.parent / path_of(url),",
        )
    ],
    "A22": [
        (
            "test_the_session_is_imported_from_here",
            "__init__.py",
            'return import_module("flask").session',
            'return import_module("flask").g',
        )
    ],
    "A23": [
        (
            "test_an_error_page_shows_messages",
            _SESSION,
            "if self._facts.is_over or _is_of_store(handled):",
            "if self._facts.is_over:",
        )
    ],
    "A24": [
        (
            "test_a_cookie_that_no_browser_takes",
            "settings/keys.py",
            "    check_cookie(config)\n",
            "",
        )
    ],
    "A25": [
        (
            "test_a_record_of_the_memory_store",
            "stores/memory/packed.py",
            "        return Record(**fields)\n",
            "        return object.__new__(cls)\n",
        )
    ],
    "A26": [
        (
            "test_a_session_is_given_timeouts",
            "sessions/manager.py",
            "return Change(holder=record.secret_digest, idle_timeout=idle_timeout, rotation=rotation)",
            "return Change(holder=record.secret_digest, idle_timeout=idle_timeout)",
        )
    ],
}

MUTATIONS = [Mutation(*edit) for edits in TABLE.values() for edit in edits]
