"""Makes a Django application with the views of the trials, its sessions in Redis and its users in SQLite."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def make_site(redis_url: str, folder: Path, *, wait: Callable[[str], None]) -> Any:
    """Return the WSGI application. Django is set up once a process."""
    import django
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application

    apps = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
    settings.configure(
        SECRET_KEY="a key of the trials, which nobody else has",
        ALLOWED_HOSTS=["localhost"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=apps,
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / "users.db"}},
        CACHES={"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": redis_url}},
        SESSION_ENGINE="django.contrib.sessions.backends.cache",
        LOGGING_CONFIG=None,
    )
    django.setup()
    from django.contrib.auth.models import User
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    User.objects.create_user("ada")
    urlpatterns[:] = _patterns(wait)
    return get_wsgi_application()


#: Where Django looks for the views.
urlpatterns: list[Any] = []


def _patterns(wait: Callable[[str], None]) -> list[Any]:
    from django.contrib.auth import login
    from django.contrib.auth import logout
    from django.contrib.auth.models import User
    from django.http import HttpRequest
    from django.http import HttpResponse
    from django.urls import path

    def enter(request: HttpRequest, user: str) -> HttpResponse:
        login(request, User.objects.get(username=user))
        request.session["user"] = user
        return HttpResponse(user)

    def leave(request: HttpRequest) -> HttpResponse:
        logout(request)
        return HttpResponse()

    def who(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(request.session.get("user")))

    def keys(request: HttpRequest) -> HttpResponse:
        return HttpResponse(" ".join(request.session.keys()))

    def write(request: HttpRequest, key: str) -> HttpResponse:
        request.session.get(key)
        wait(request.path)
        request.session[key] = 1
        return HttpResponse()

    def append(request: HttpRequest, item: str) -> HttpResponse:
        request.session.setdefault("cart", []).append(item)
        return HttpResponse()

    def cart(request: HttpRequest) -> HttpResponse:
        return HttpResponse(" ".join(request.session.get("cart", [])))

    def plain(request: HttpRequest) -> HttpResponse:
        return HttpResponse("plain")

    return [
        path("in/<user>", enter),
        path("out", leave),
        path("who", who),
        path("keys", keys),
        path("write/<key>", write),
        path("append/<item>", append),
        path("cart", cart),
        path("plain", plain),
    ]
