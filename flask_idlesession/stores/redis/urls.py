"""Makes the client that a URL of Redis or Valkey names: for a server, a cluster, or servers that Sentinels watch."""

import re
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl
from urllib.parse import SplitResult
from urllib.parse import unquote
from urllib.parse import urlencode
from urllib.parse import urlsplit

from ...model.errors import ConfigError
from .late_cluster import late_cluster

#: Seconds within which a server must answer, so that one which hangs does not hang the application.
TIMEOUT = 1.0

#: Imports a module of a driver; what is missing becomes a sentence.
Load = Callable[[str], Any]

_SENTINEL_PORT = 26379
_SHAPE = "redis+sentinel://host:26379,host:26379/service-name/db"

#: One of the Sentinels: a name or an address, in brackets if it has colons, and perhaps a port.
_ADDRESS = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>\d+))?")


class BadUrl(ValueError):
    """A URL that cannot be used. The message says why, and shows nothing of it that may be a secret."""


def client_of(url: str, load: Load) -> Any:
    """Return the client for a URL. No server is asked.

    Raise :exc:`BadUrl` for one that cannot be understood.
    """
    scheme = url.partition(":")[0].lower()
    if not url[len(scheme) :].startswith("://"):
        raise BadUrl(f"it must begin with {scheme}://")
    _check_port(url)
    try:
        client = _MAKERS[scheme](url, load)
        _check_options(client)
    except ConfigError:
        raise  # The driver's package is missing.
    except ValueError as error:
        raise error if isinstance(error, BadUrl) else BadUrl(f"the driver says: {str(error).rstrip('.')}") from None
    except TypeError as error:
        unknown = str(error).rpartition("unexpected keyword argument ")[2]
        raise BadUrl(f"it has a parameter that the driver does not know: {unknown}") from None
    return client


def _check_port(url: str) -> None:
    """Raise for a port that is none. The driver's own error would show what stands there: part of a password, if that
    has a slash.
    """
    if "," in _several(url).netloc:
        return  # Each of them is looked at later.
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise BadUrl(
            "its port must be a number up to 65535. In a user's name or a password write each special character by its "
            "code: / is %2F, @ is %40, : is %3A"
        ) from None


def _check_options(client: Any) -> None:
    """Make a connection, which asks nothing yet: for that its options must be known."""
    pool = getattr(client, "connection_pool", None)
    if pool is not None:
        pool.connection_class(**pool.connection_kwargs)


def _impatience(package: str, load: Load) -> dict[str, Any]:
    """Return what makes a client of redis-py's kind answer or fail in time: one try, and one more where the server had
    closed a connection. A server that does not answer is not asked again.
    """
    broken = (load(f"{package}.exceptions").ConnectionError,)
    retry = load(f"{package}.retry").Retry(load(f"{package}.backoff").NoBackoff(), 1, supported_errors=broken)
    return {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT, "retry": retry}


def _redis(url: str, load: Load) -> Any:
    return load("redis").Redis.from_url(url, **_impatience("redis", load))


def _valkey(url: str, load: Load) -> Any:
    return load("valkey").Valkey.from_url(url, **_impatience("valkey", load))


def _redis_cluster(url: str, load: Load) -> Any:
    plain = url.replace("+cluster", "", 1)
    options = _options_of(plain, load)
    connect = options.pop("connection_class", load("redis.connection").Connection)
    connect(**options)  # It asks nothing yet, and takes known options alone.
    return late_cluster(load("redis.cluster").RedisCluster, {"url": plain, **_impatience("redis", load)})


def _redis_sentinel(url: str, load: Load) -> Any:
    """``redis+sentinel://[[user]:password@]host[:port][,host[:port]…]/service[/db][?parameters]``

    The user and the password are the data servers'. Those of the Sentinels are the parameters ``sentinel_username`` and
    ``sentinel_password``; the others are redis-py's own.
    """
    sentinel = load("redis.sentinel")
    parts = _several(url)
    login, _, hosts = parts.netloc.rpartition("@")
    service, _, db = parts.path.strip("/").partition("/")
    addresses = [_ADDRESS.fullmatch(each) for each in hosts.split(",")]
    if not service or not (db or "0").isdigit() or not all(addresses):
        raise BadUrl(f"it must be {_SHAPE}")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    own = {name: query.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    impatience = _impatience("redis", load)
    secure = {"ssl": True} if parts.scheme == "rediss+sentinel" else {}
    user, _, password = login.partition(":")
    options = _options_of(f"{parts.scheme.partition('+')[0]}://host?{urlencode(query)}", load) | impatience | secure
    if login:
        options |= {"username": unquote(user) or None, "password": unquote(password)}
    for name in ("host", "port", "db", "connection_class"):
        options.pop(name, None)
    watchers = sentinel.Sentinel(
        [(each["v6"] or each["host"], int(each["port"] or _SENTINEL_PORT)) for each in addresses if each],
        sentinel_kwargs={name: value for name, value in own.items() if value} | impatience | secure,
    )
    return watchers.master_for(service, db=int(db or 0), **options)


def _several(url: str) -> SplitResult:
    """Split a URL that may name several hosts, which some versions of urlsplit() refuse where one has brackets."""
    scheme, _, rest = url.partition("://")
    place, _, query = rest.partition("?")
    hosts, slash, path = place.partition("/")
    return SplitResult(scheme, hosts, slash + path, query, "")


def _options_of(url: str, load: Load) -> dict[str, Any]:
    """Return the options in a URL as redis-py reads them."""
    options: dict[str, Any] = load("redis.connection").parse_url(url)
    return options


_MAKERS: Mapping[str, Callable[[str, Load], Any]] = {
    "redis": _redis,
    "rediss": _redis,
    "unix": _redis,
    "redis+cluster": _redis_cluster,
    "rediss+cluster": _redis_cluster,
    "redis+sentinel": _redis_sentinel,
    "rediss+sentinel": _redis_sentinel,
    "valkey": _valkey,
    "valkeys": _valkey,
}
