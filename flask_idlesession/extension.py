"""Puts the parts together for an application: the one module that knows them all."""

import os
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import cast
from typing import Never
from typing import TYPE_CHECKING

from flask import Flask
from flask import got_request_exception
from flask.sessions import SecureCookieSessionInterface

from .accounts.client import ClientInfo
from .model.clock import Clock
from .model.clock import system_clock
from .model.codec import Codec
from .model.errors import ConfigError
from .model.messages import Notices
from .operations.lost_sessions import LostSessions
from .operations.other_processes import OtherProcesses
from .process.locks import ForkSafeLock
from .sessions.manager import SessionManager
from .sessions.remarks import Remarks
from .sessions.requests import Requests
from .sessions.session import Session
from .settings.checks import read_metrics
from .settings.checks import read_prefix
from .settings.checks import Unshown
from .settings.secret_keys import fault_in
from .settings.secret_keys import require_strong_keys
from .settings.secret_keys import weaknesses_of
from .stores import check_store
from .stores import describe
from .stores import open_store
from .stores.contract import advising
from .stores.contract import has_clock
from .stores.contract import Store
from .stores.memory import MemoryStore
from .web.activity import ActivityRule
from .web.csrf import offer_csrf_token
from .web.current import NAME
from .web.failures import note_failure
from .web.interface import IdleSessionInterface
from .web.late_contexts import LateContexts
from .web.log_fields import add_fields
from .web.runtime import Runtime
from .web.tags import by_json_provider
from .web.tags import tags_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Mapping

    from .integrations.adopting import Adopting
    from .integrations.opentelemetry import Instruments
    from .operations.audit_log import AuditLog
    from .operations.clock_skew import ClockSkew
    from .operations.event_counter import EventCounter
    from .operations.figures import Figures
    from .operations.figures import FiguresReader
    from .operations.health import Health
    from .operations.neighbours import Neighbours
    from .operations.store_advice import StoreAdvice
    from .operations.tallies import Tallies
    from .pages.blueprint import BeforeEnding
    from .sessions.hints import Hints
    from .settings.keys import Settings
    from .web.hints import CookieHints
    from .web.jwt_cookie import MoreClaims
    from .web.operators import Guard
    from .web.runtime import Logins

_PAGES, _METRICS = "IDLESESSION_PAGES", "IDLESESSION_METRICS"

#: The consequence of a server that forgets keys, where sessions from before are taken over.
_FORGETS_MARKS = (
    " IDLESESSION_ADOPT is set: the server may forget which users have logged out, and then copies of old cookies are "
    "accepted again. [ISW020]"
)

# Modules that only some applications use are imported where they are used. They would take a quarter of the import's
# time.


class IdleSession:
    """Server-side sessions that end when their user goes idle. ::

        app = Flask(__name__)
        app.secret_key = ...
        IdleSession(app)

    ``store`` keeps the sessions (this process's memory by default); ``clock`` tells the time, for tests (by default
    the system's).
    ``codec`` is where types of your own are registered. ``claims`` is given a session's info and returns what its
    JWT (``IDLESESSION_CLAIMS``) is to say besides, such as ``{"roles": [...]}``. ``before_ending`` is called before a
    user ends other sessions of theirs on the page "where you are signed in" (``IDLESESSION_PAGES``); what it returns,
    if it is not None, is the answer in place of that. ``adopt_user`` is given the data of a session from before
    (``IDLESESSION_ADOPT``) and returns the id of the user who is logged in there, or None; without it Flask-Login's
    user counts. ``dashboard`` lets operators see and end the sessions of everybody, below ``IDLESESSION_PAGES``. It is
    called without arguments in each request for the dashboard. It returns True for an operator, False for a stranger,
    who is answered 404, or a response. Without it there is no dashboard. One object serves any number of
    applications.
    """

    #: The classes of the sessions, and of the interface that Flask is given. A subclass may have others.
    session_class: type[Session] = Session
    interface_class: type[IdleSessionInterface] = IdleSessionInterface

    def __init__(
        self,
        app: Flask | None = None,
        *,
        store: Store | None = None,
        codec: Codec | None = None,
        clock: Clock | None = None,
        claims: "MoreClaims | None" = None,
        before_ending: "BeforeEnding | None" = None,
        adopt_user: "Callable[[Mapping[str, Any]], Any] | None" = None,
        dashboard: "Guard | None" = None,
        **unknown: Never,
    ) -> None:
        if unknown:
            name = next(iter(unknown))
            from .settings.keys import instead_of

            raise TypeError(f"IdleSession() has no argument {name!r}; {instead_of(name)}. [ISE044]")
        self.codec = Codec() if codec is None else codec
        self._store = store
        self._clock = system_clock if clock is None else clock
        self._claims = claims
        self._before_ending = before_ending
        self._adopt_user = adopt_user
        self._dashboard = dashboard
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Give the application these sessions.

        Its config is checked as it stands now, without asking a server. It is read at the first request.
        """
        if not isinstance(app, Flask):
            raise TypeError(
                f"IdleSession() was given {app!r}; it needs the application, as in IdleSession(app). [ISE043]"
            )
        if NAME in app.extensions:
            raise RuntimeError(
                f"IdleSession is already set up for {app.name!r}; call init_app() once for each app. [ISE042]"
            )
        state = AppState(
            app,
            codec=self.codec,
            store=self._store,
            clock=self._clock,
            claims=self._claims,
            adopt_user=self._adopt_user,
            session_class=self.session_class,
            has_guard=self._dashboard is not None,
        )
        state.check(app)
        hears_routes = _takes_a_round_trip(self._store, app.config.get("IDLESESSION_STORE"))
        interface = self.interface_class(state.runtime, self.codec, hears_routes=hears_routes)
        self.codec.take_over(tags_of(app.session_interface))
        self.codec.make_plainer = self.codec.make_plainer or by_json_provider
        app.extensions[NAME] = state
        add_fields()
        state.follow_flask_login(app)
        app.session_interface = interface
        if hears_routes:
            app.url_value_preprocessor(interface.note_arrival)
        app.context_processor(offer_csrf_token)
        got_request_exception.connect(interface.note_failure, app)
        self._mount(app, state)

    def _mount(self, app: Flask, state: "AppState") -> None:
        """Serve the pages, the metrics and the dashboard, as far as they are wanted."""
        if app.config.get(_PAGES) is not None:
            from .pages.blueprint import mount

            state.pages = mount(app, read_prefix(app.config[_PAGES]), before_ending=self._before_ending)
        if app.config.get(_METRICS) is not None:
            from .integrations.prometheus import mount as mount_metrics

            state.shows_tallies = True
            state.metrics = mount_metrics(app, read_metrics(app.config[_METRICS]), guard=self._dashboard)
        if self._dashboard is None:
            return
        if state.pages is not None:
            from .pages.dashboard import mount_dashboard

            state.shows_tallies = True
            mount_dashboard(app, state.pages, self._dashboard)
        elif state.metrics is None:  # Else the guard is that of the metrics alone.
            raise ConfigError(
                "IdleSession was given dashboard=, but IDLESESSION_PAGES is not set, below which the dashboard is "
                'served; set app.config["IDLESESSION_PAGES"] = "/session", or leave dashboard= out. [ISE033]'
            )


class AppState:
    """``app.extensions["idlesession"]``: one application's settings and session manager.

    It does not keep the application alive, and neither does anything in it.
    """

    def __init__(
        self,
        app: Flask,
        *,
        codec: Codec,
        store: Store | None,
        clock: Clock,
        claims: "MoreClaims | None",
        adopt_user: "Callable[[Mapping[str, Any]], Any] | None",
        session_class: type[Session],
        has_guard: bool,
    ) -> None:
        self._app = weakref.ref(app)
        self._claims = claims
        #: Finds the user in a session from before, and the class of the sessions. Both count until the first request.
        self.adopt_user = adopt_user
        self.session_class = session_class
        self._has_guard = has_guard
        former = app.session_interface
        self._former = former if isinstance(former, SecureCookieSessionInterface) else None
        self._codec = codec
        self._store = store
        self._clock = clock
        #: Says a line of the log once for the application.
        self.notices = Notices()
        self._runtime: Runtime | None = None
        self._audit: AuditLog | None = None
        self._flask_login: Logins | None = None
        self._clock_skew: ClockSkew | None = None
        self._advice: StoreAdvice | None = None
        self._neighbours: Neighbours | None = None
        self._cookie_hints: CookieHints | None = None
        # For several first requests at once. Made when the first comes: by then gevent has patched what it patches, and
        # a lock from before would stop all greenlets while one of them waits for the store.
        self._starting: dict[str, ForkSafeLock] = {}
        #: Whether something shows the tallies: then they are kept without IDLESESSION_TALLIES. It is set before the
        #: first request.
        self.shows_tallies = False
        #: The prefix below which the pages are served; None where they are not.
        self.pages: str | None = None
        #: The path at which the figures are served; None where they are not.
        self.metrics: str | None = None
        self._figures: FiguresReader | None = None

    @property
    def is_running(self) -> bool:
        """Whether there was a request, or something else that needed the store."""
        return self._runtime is not None

    @property
    def settings(self) -> "Settings":
        """The application's settings, read from its config at first use."""
        return self.runtime().settings

    @property
    def manager(self) -> SessionManager:
        """The application's session manager."""
        return self.runtime().manager

    @property
    def tallies(self) -> "Tallies | None":
        """The counts of all processes together; None unless IDLESESSION_TALLIES is set, or something shows them."""
        return self.runtime().tallies

    def health(self) -> "Health":
        """Ask the store once, as a request does, and return how that went. An outage is an answer, no error."""
        from .operations.health import examine

        manager = self.manager
        return examine(manager.store, now=manager.now())

    def figures(self) -> "Figures":
        """Return the figures that monitoring is told. An outage is an answer, no error."""
        if self._figures is None:
            from .operations.figures import FiguresReader

            manager = self.manager
            self._figures = FiguresReader(manager.store, tallies=self.tallies, clock=manager.now)
        return self._figures.read()

    def place(self, settings: "Settings") -> str:
        """Return where the sessions are by these settings, without a password. No server is asked."""
        from .operations.start_line import place

        return place(describe(settings.store if self._store is None else self._store), settings)

    def copy_of_journal(self) -> tuple[Store, Codec, Clock] | None:
        """Return a copy of what the journal holds, which another process writes, with the codec and the clock.

        None where there is no journal, or this process has it.
        """
        app = cast(Flask, self._app())
        settings = self.check(app)
        if settings.journal is None or self._runtime is not None:
            return None
        from .operations.wrapping import wrapped
        from .stores.journal.reading import JournalCopy

        copy = JournalCopy(Path(app.instance_path) / settings.journal, now=self._clock())
        return wrapped(copy, settings), self._codec, self._clock

    def runtime(self) -> Runtime:
        """Return what the sessions run on, the same each time."""
        if self._runtime is None:
            with self._starting.setdefault("lock", ForkSafeLock()):
                if self._runtime is None:
                    self._runtime = self._start()
        return self._runtime

    def follow_flask_login(self, app: Flask) -> None:
        """Do with the session what Flask-Login does with the user, where the application has imported it."""
        if "flask_login" not in sys.modules:
            return
        try:
            from .integrations.flask_login import FlaskLogin
            from .integrations.flask_login import follow_ids
            from .integrations.flask_login import follow_remember_cookie
        except ImportError:  # Something else has that name: a stub of somebody's tests.
            return
        self._flask_login = self._flask_login or FlaskLogin(app)
        follow_ids(app)
        follow_remember_cookie(app)

    def check(self, app: Flask) -> "Settings":
        """Return what the config says by now. Raise ConfigError for wrong values and for packages that are missing; no
        server is asked, and no file is touched.
        """
        # Here: they take milliseconds to import, as other parts that wait do.
        from .operations.start_line import start_line
        from .settings.keys import advice_on
        from .settings.keys import read_settings

        fault = _fault_in_keys(app)
        if fault is not None:
            raise ConfigError(fault)
        settings = read_settings(app.config)
        spec = settings.store if self._store is None else self._store
        check_store(spec, namespace=settings.namespace)
        if settings.journal is not None and _takes_a_round_trip(self._store, settings.store):
            raise ConfigError(
                f"IDLESESSION_JOURNAL is {str(settings.journal)!r}, but only sessions in memory need a journal, and "
                'these are elsewhere; remove it, or set IDLESESSION_STORE = "memory://".'
                " [ISE022]"
            )
        self._parts_of_config(app, settings, manager=None)
        for key, advice in advice_on(Unshown(app.config)):
            self.notices.warn(key, advice)
        line = start_line(app.name, self.place(settings), settings, Unshown(app.config))
        self.notices.inform(line, line)
        return settings

    def _start(self) -> Runtime:
        from .integrations.monitoring import gauges_of
        from .integrations.monitoring import open_instruments
        from .operations.wrapping import wrapped
        from .web.request_tally import open_tallies

        app = cast(Flask, self._app())
        settings = self.check(app)
        self._check_mounted(settings)
        store = self._open_store(app, settings)
        counter, instruments = self._event_counter(settings), open_instruments(app, settings)
        protected = wrapped(store, settings, gauges=gauges_of(counter, instruments))
        adopting = self._open_adopting(settings, protected) if settings.adopt else None
        manager = SessionManager(
            protected,
            policy=settings.policy,
            cleanup_interval=settings.cleanup_interval,
            codec=self._codec,
            clock=self._clock,
            sender=app,
            marks=None if adopting is None else adopting.marks,
        )
        self._watch(store, manager, settings)
        self._tell(app, manager, settings, instruments)
        self.follow_flask_login(app)
        activity = ActivityRule(settings.activity, views=app.view_functions, blueprints=app.blueprints)
        others = OtherProcesses(f"{app.root_path} {app.import_name}", shares=not store.traits.in_process)
        return Runtime(
            settings=settings,
            manager=manager,
            requests=self._requests(app, settings, manager, store, activity),
            activity=activity,
            notices=self.notices,
            logins=self._flask_login,
            adoption=None if adopting is None else adopting.adoption(manager),
            others=None if app.testing else others,
            tallies=open_tallies(app, manager.store, counter, activity, notices=self.notices),
            **self._parts_of_config(app, settings, manager=manager),
        )

    def _tell(
        self, app: Flask, manager: SessionManager, settings: "Settings", instruments: "Instruments | None"
    ) -> None:
        """Have the events of sessions logged, and OpenTelemetry told, as far as that is asked for."""
        if instruments is not None:
            instruments.watch(manager.store, clock=manager.now)
        if settings.audit:
            from .operations.audit_log import AuditLog

            self._audit = AuditLog(app, clock=manager.now)

    def _check_mounted(self, settings: "Settings") -> None:
        """Raise ConfigError if the config has other paths by now than those that are served."""
        if settings.pages != self.pages:
            raise ConfigError(
                f"IDLESESSION_PAGES is {settings.pages!r}, but it was {self.pages!r} when the pages were mounted; "
                "set it before IdleSession(app) or init_app(app), which read it."
                " [ISE027]"
            )
        if settings.metrics != self.metrics:
            raise ConfigError(
                f"IDLESESSION_METRICS is {settings.metrics!r}, but it was {self.metrics!r} when the metrics were "
                "mounted; set it before IdleSession(app) or init_app(app), which read it."
                " [ISE031]"
            )

    def _event_counter(self, settings: "Settings") -> "EventCounter | None":
        """Return what counts events, if anything is to be counted."""
        if not (settings.tallies or self.shows_tallies):
            return None
        from .operations.event_counter import EventCounter

        return EventCounter(self._clock)

    def _watch(self, store: Store, manager: SessionManager, settings: "Settings") -> None:
        """Look after the store's server in the background, as far as the store can tell of it."""
        timed, advised = has_clock(store), advising(store)
        if timed is not None:
            from .operations.clock_skew import ClockSkew

            host = manager.host_clock
            self._clock_skew = ClockSkew(timed, clock=self._clock if host is None else host.of_host)
        if advised is not None:
            from .operations.store_advice import StoreAdvice

            self._advice = StoreAdvice(advised, consequence=_FORGETS_MARKS if settings.adopt else "")
        if not store.traits.in_process:
            from .operations.neighbours import Neighbours

            name = cast(Flask, self._app()).name
            self._neighbours = Neighbours(
                name, manager.store, keys=self._secret_keys, clock=manager.now, notices=self.notices
            )

    def _secret_keys(self) -> list[str | bytes]:
        """Return the application's keys of today; none once it is gone."""
        app = self._app()
        return [] if app is None else [key for key in (app.secret_key, *_fallbacks(app)) if key]

    def _open_adopting(self, settings: "Settings", store: Store) -> "Adopting":
        """Return what takes sessions from before over."""
        from .integrations.adopting import Adopting

        return Adopting(
            self._app,
            settings,
            store,
            former=self._former,
            clock=self._clock,
            notices=self.notices,
            user_of=self.adopt_user,
        )

    def _open_store(self, app: Flask, settings: "Settings") -> Store:
        folder = Path(app.instance_path)  # The store makes it, if need be.
        return open_store(
            settings.store if self._store is None else self._store,
            folder=folder,
            open_memory=lambda: self._open_memory(settings, folder),
            namespace=settings.namespace,
        )

    def _open_memory(self, settings: "Settings", folder: Path) -> Store:
        if settings.journal is None:
            return MemoryStore(max_sessions=settings.max_sessions, max_bytes=settings.max_bytes)
        from .stores.journal import JournalStore

        return JournalStore.once_free(
            folder / settings.journal,
            now=self._clock(),
            durability=settings.durability,
            max_sessions=settings.max_sessions,
            max_bytes=settings.max_bytes,
        )

    def _requests(
        self, app: Flask, settings: "Settings", manager: SessionManager, store: Store, activity: ActivityRule
    ) -> Requests:
        client, guard = ClientInfo(settings.client_info), None
        if (settings.bind_address, settings.bind_agent) != ("off", "off"):
            from .accounts.binding import Binding

            hidden = {"_user_id", "_fresh", "_id"} if self._flask_login is not None else set()
            address, agent = settings.bind_address, settings.bind_agent
            guard = Binding(manager.lifecycle, client, address=address, agent=agent, hidden=hidden)
        # With a journal an unknown token is of a session that expired while nothing ran.
        loses = _is_alone(app, store) and store.traits.forgetful
        note_lost = LostSessions(store, began_at=manager.now()).note if loses else None
        return Requests(
            manager.lifecycle,
            manager.revocation,
            activity=activity.counts,
            client=client,
            guard=guard,
            remarks=Remarks(
                manager.lifecycle,
                note_lost=note_lost,
                note_permanent=self._note_permanent,
                hints=self._hints(app, store),
                ends_reused=settings.ends_reused,
            ),
            watch_late=LateContexts().watch,
            note_failure=note_failure,
            session_class=self.session_class,
        )

    def _hints(self, app: Flask, store: Store) -> "Hints | None":
        """Return what gives a developer hints, in debug mode."""
        if not app.debug:
            return None
        from .sessions.hints import Hints
        from .web.hints import CookieHints

        self._cookie_hints = CookieHints(app, self.notices)
        reloads = os.environ.get("WERKZEUG_RUN_MAIN") == "true" and store.traits.in_process and store.traits.forgetful
        return Hints(self.notices, self._codec, reloads=reloads)

    def _note_permanent(self, idle_timeout: float, permanent_lifetime: float) -> None:
        if idle_timeout >= permanent_lifetime:
            return
        from .operations.start_line import in_words

        self.notices.warn(
            "permanent",
            "A session was made permanent, so its cookie is kept for %s; but it ends after %s without activity. To "
            "prolong it, raise IDLESESSION_IDLE_TIMEOUT and IDLESESSION_LIFETIME. [ISW023]",
            in_words(permanent_lifetime),
            in_words(idle_timeout),
        )

    def _parts_of_config(self, app: Flask, settings: "Settings", *, manager: SessionManager | None) -> dict[str, Any]:
        """Return the parts that only some applications have. Without a manager they are made to be checked alone."""
        options: dict[str, Any] = {}
        from .integrations.monitoring import check_monitoring

        check_monitoring(settings, has_guard=self._has_guard)
        if settings.keep_forms:
            from .model.encryption import require_cryptography

            require_cryptography()
        if manager is not None and not (app.debug or app.testing):
            for name in settings.by_key_alone:
                require_strong_keys(_weaknesses(app), for_what=name)
        if settings.token_header is not None:
            from .web.token_header import TokenHeader

            options["header"] = TokenHeader(settings.token_header, foreign=settings.metrics_token)
        if settings.claims is not None:
            from .web.jwt_cookie import open_claims

            options["claims"] = open_claims(
                settings, app.config, manager=cast(SessionManager, manager), more=self._claims
            )
        return options


def _fault_in_keys(app: Flask) -> str | None:
    """Return what is wrong with the application's keys, so that no frame has them when that is raised."""
    return fault_in(app.secret_key, app.config.get("SECRET_KEY_FALLBACKS")) if app.secret_key else None


def _weaknesses(app: Flask) -> list[str | None]:
    """Return what is weak about the application's keys; no frame above this one has them when that is refused."""
    return weaknesses_of(key for key in (app.secret_key, *_fallbacks(app)) if key)


def _fallbacks(app: Flask) -> Sequence[str | bytes]:
    return app.config.get("SECRET_KEY_FALLBACKS") or ()


def _takes_a_round_trip(store: Store | None, spec: object) -> bool:
    """Whether the sessions are outside this process, as far as that is known when the application is made."""
    known = spec if store is None else store
    if isinstance(known, Store):
        return not known.traits.in_process
    return known is not None and not (isinstance(known, str) and known.startswith("memory:"))


def _is_alone(app: Flask, store: Store) -> bool:
    """Whether the sessions are in the memory of this process alone, and that may surprise somebody."""
    return store.traits.in_process and not app.testing
