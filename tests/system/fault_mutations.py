"""Faults of operation and of security that were found once, each with the edit that brings it back and a test of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """In ``file`` the text ``old``, which is there once, becomes ``new``: then ``test`` in ``path`` fails."""

    fault: str
    path: str
    test: str
    file: str
    old: str
    new: str


MUTATIONS = [
    Mutation(
        "a forked child speaks on its parent's connection",
        "process/test_forks.py",
        "test_stores_rest_before_locks_and_threads_start_after_stores",
        "process/forks.py",
        "[item for stage in Stage for item",
        "[item for stage in reversed(Stage) for item",
    ),
    Mutation(
        "a server that evicts loses the list of a user's sessions, and a revocation misses them",
        "stores/test_redis_spoilt.py",
        "test_a_revocation_ends_the_sessions_that_no_list_names",
        "sessions/revocation.py",
        "        store = evicting(self._store)\n",
        "        store = None\n",
    ),
    Mutation(
        "one client's failures open the circuit for all",
        "stores/test_circuit_breaker.py",
        "test_a_store_that_refuses_one_record_is_not_even_probed",
        "stores/circuit_breaker.py",
        "        if isinstance(error, RecordRejected):\n",
        "        if False:\n",
    ),
    Mutation(
        "a session may be of any size",
        "sessions/test_size.py",
        "test_the_first_write_may_be_too_large",
        "sessions/issuing.py",
        "        self._saves.check_size(None, values)\n",
        "",
    ),
    Mutation(
        "failures are not logged",
        "stores/test_circuit_breaker.py",
        "test_the_first_failure_is_logged_at_once_with_its_cause",
        "stores/failures.py",
        "        if not self.add(error):\n",
        "        self.add(error)\n        if False:\n",
    ),
    Mutation(
        "a revocation that cannot be noted ends nothing",
        "sessions/test_endings.py",
        "test_where_the_revocation_cannot_be_noted",
        "sessions/revocation.py",
        "            failure = error\n",
        "            raise\n",
    ),
    Mutation(
        "two applications share users: the store's names",
        "system/test_namespaces.py",
        "test_a_user_of_one_application_is_nobody_in_the_other[sqlite]",
        "stores/__init__.py",
        '    prefix = f"{namespace}_" if namespace else ""\n',
        '    prefix = ""\n',
    ),
    Mutation(
        "two applications share users: Redis",
        "system/test_namespaces.py",
        "test_a_user_of_one_application_is_nobody_in_the_other[redis]",
        "stores/__init__.py",
        '    return f"{namespace}:idlesession:" if namespace else "idlesession:"\n',
        '    return "idlesession:"\n',
    ),
    Mutation(
        "two applications share users: SQL databases",
        "system/test_namespaces.py",
        "test_a_user_of_one_application_is_nobody_in_the_other[postgresql]",
        "stores/__init__.py",
        '    return f"{namespace}_idlesession_" if namespace else "idlesession_"\n',
        '    return "idlesession_"\n',
    ),
    Mutation(
        "nobody is told of another application under the same names",
        "system/test_namespaces.py",
        "test_another_application_under_the_same_names_is_told_once[sqlite]",
        "operations/neighbours.py",
        "if theirs and (name != self._name or not set(ours).intersection(theirs)):",
        "if False:",
    ),
    Mutation(
        "a new worker after a step of the clock ends everybody's session",
        "sessions/test_host_clock.py",
        "test_a_new_worker_after_a_step_of_the_wall_clock_ends_no_session_in_use[3600-redis]",
        "sessions/host_clock.py",
        "        self._shift = offset - own\n",
        "        self._shift = 0.0\n",
    ),
    Mutation(
        "a host whose clock is ahead ends the sessions of all",
        "sessions/test_host_clock.py",
        "test_a_clock_that_is_ahead_of_the_servers",
        "sessions/host_clock.py",
        "self._ahead = ahead if ahead > TOLERANCE else 0.0",
        "self._ahead = 0.0",
    ),
    Mutation(
        "a revocation by a clock that was ahead refuses log-ins for ever",
        "sessions/test_revocation.py",
        "test_a_revocation_by_a_clock_that_was_ahead",
        "sessions/revocation.py",
        "if came_at <= ending.ended_at <= max(now, came_at) + TOLERANCE and",
        "if came_at <= ending.ended_at and",
    ),
    Mutation(
        "a log-out by a clock that was ahead keeps visitors from a session",
        "sessions/test_revocation.py",
        "test_a_log_out_by_a_clock_that_was_ahead",
        "sessions/log_outs.py",
        "            return facts.came_at < ending.ended_at <= now + TOLERANCE\n",
        "            return facts.came_at < ending.ended_at\n",
    ),
    Mutation(
        "a session that was seen while the clock was ahead outlives its timeout",
        "stores/test_sqlite_file.py",
        "test_sessions_that_were_seen_while_the_clock_was_ahead",
        "stores/sqlite/clock_witness.py",
        "        if not latest or latest[0][0] <= now + _NOTED_EVERY:\n",
        "        if True:\n",
    ),
    Mutation(
        "a log-in forgets the whole backlog first",
        "sessions/test_revocation.py",
        "test_a_dead_turn_is_forgotten_and_the_backlog_is_left",
        "sessions/revocation.py",
        "            self._forget_dead_turn(sid, now=now)\n",
        "            self._lifecycle.pruner.prune_all()\n",
    ),
    Mutation(
        "the log of an SQLite file grows while a backlog is forgotten",
        "stores/test_sqlite_file.py",
        "test_a_backlog_that_is_pruned_leaves_no_log_that_grew",
        "stores/sqlite/expiry.py",
        "            self._file.note_write(rows=_ROW * len(gone))\n",
        "",
    ),
    Mutation(
        "a copy of the token lives on after the others were revoked",
        "asvs/test_v7.py",
        "test_7_4_3",
        "accounts/revoking.py",
        "    ours.rotate(grace=False)\n",
        "",
    ),
    Mutation(
        "a folder that others may write is taken",
        "stores/test_private_files.py",
        "test_a_folder_that_others_may_write_is_refused",
        "stores/private_files.py",
        "    if found.st_mode & 0o022:\n",
        "    if False:\n",
    ),
    Mutation(
        "a flood of ends pushes out a revocation",
        "stores/test_redis_spoilt.py",
        "test_a_flood_of_ends_pushes_out_no_revocation",
        "stores/redis/store.py",
        "        if is_of_many(sid):\n",
        "        if False:\n",
    ),
    Mutation(
        "one user's large session evicts everybody else",
        "stores/test_memory.py",
        "test_an_owner_of_one_session_that_takes_more_than_a_share[mallory]",
        "stores/memory/eviction.py",
        "        key = self._heavy.largest_session(self._users.keys_of)\n",
        "        key = None\n",
    ),
    Mutation(
        "one user's many sessions evict everybody else",
        "stores/test_memory.py",
        "test_an_owner_of_many_sessions_loses_the_largest_first",
        "stores/memory/heavy_owners.py",
        "        if 2 * sum(map(self._size_of, keys)) > self._share:\n",
        "        if False:\n",
    ),
    Mutation(
        "visitors fill a shared store",
        "sessions/test_anonymous.py",
        "test_visitors_beyond_the_bound_get_no_session_and_users_do[redis]",
        "sessions/anonymous.py",
        "if self._counted + self._begun < self._most:",
        "if True:",
    ),
    Mutation(
        "a session without a cookie lives as long as others",
        "sessions/test_anonymous.py",
        "test_a_session_whose_cookie_never_comes_back_ends_early[sqlite]",
        "sessions/changes.py",
        "    return None if policy.unconfirmed_idle_timeout is None else policy.first_idle_timeout\n",
        "    return None\n",
    ),
]
