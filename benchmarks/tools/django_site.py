"""Makes a Django application with the views that are measured, and Django's sessions in PostgreSQL, Redis or none."""

from collections.abc import Callable
from itertools import count
from typing import Any
from urllib.parse import urlsplit


def make_site(data_of: Callable[..., dict[str, Any]], *, sql: str | None, saves_each_request: bool = False) -> Any:
    """Return the WSGI application: with sessions in the database that ``sql`` names, or without any.

    A connection is kept from request to request, which Django does not do by itself.
    """
    import django
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application

    at = urlsplit(sql or "")
    database = {"ENGINE": "django.db.backends.postgresql", "NAME": at.path.strip("/"), "USER": at.username}
    settings.configure(
        SECRET_KEY="a key of the benchmarks, 32 bytes",
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["django.contrib.sessions"] if sql else [],
        MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"] if sql else [],
        DATABASES={"default": {**database, "HOST": at.hostname, "PORT": at.port, "CONN_MAX_AGE": None}} if sql else {},
        SESSION_COOKIE_NAME="session",
        SESSION_COOKIE_AGE=1800,
        SESSION_SAVE_EVERY_REQUEST=saves_each_request,
        LOGGING_CONFIG=None,
    )
    django.setup()
    if sql:
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
    urlpatterns[:] = _patterns(data_of)
    return get_wsgi_application()


def make_plain_site(data_of: Callable[..., dict[str, Any]], *, redis: str) -> Any:
    """Return the WSGI application without sessions, in a process where :func:`make_redis_site` may make another."""
    import django
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application

    settings.configure(
        SECRET_KEY="a key of the benchmarks, 32 bytes",
        ALLOWED_HOSTS=["localhost"],
        ROOT_URLCONF=__name__,
        CACHES={"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": redis}},
        SESSION_ENGINE="django.contrib.sessions.backends.cache",
        SESSION_COOKIE_NAME="session",
        SESSION_COOKIE_AGE=1800,
        LOGGING_CONFIG=None,
    )
    django.setup()
    urlpatterns[:] = _patterns(data_of)
    return get_wsgi_application()


def make_redis_site() -> Any:
    """Return the same application with sessions in its cache, which is a Redis server."""
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application

    settings.MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
    return get_wsgi_application()


def save_each_request(*, wanted: bool) -> None:
    """Have Django store each session at each request, as an idle timeout needs it, or changed ones alone."""
    from django.conf import settings

    settings.SESSION_SAVE_EVERY_REQUEST = wanted


#: Where Django looks for the views.
urlpatterns: list[Any] = []


def _patterns(data_of: Callable[..., dict[str, Any]]) -> list[Any]:
    from django.http import HttpRequest
    from django.http import HttpResponse
    from django.urls import path

    numbers = count(1)

    def start(request: HttpRequest, size: int, number: int) -> HttpResponse:
        request.session.update(data_of(size, number=number))
        return HttpResponse("started")

    def ignore(request: HttpRequest) -> HttpResponse:
        return HttpResponse("ok")

    def read(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(request.session["visits"]))

    def write(request: HttpRequest) -> HttpResponse:
        request.session["visits"] = number = next(numbers)
        return HttpResponse(str(number))

    return [
        path("start/<int:size>/<int:number>", start),
        path("ignore", ignore),
        path("read", read),
        path("write", write),
    ]
