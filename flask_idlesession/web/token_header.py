"""Carries the token in a request header, and a new one in a response header, for clients that keep no cookies."""

import hmac
import re

from flask import has_request_context
from flask import Request
from flask import request
from flask import Response

from ..model.errors import ConfigError

#: The response header in which a client is given its token; empty when its session ended.
TOKEN_HEADER = "X-IdleSession-Token"

_NAME = r"[A-Za-z0-9!#$%&'*+.^`|~-]+"
_SCHEME = "bearer"

#: Headers that browsers and proxies send by themselves (Fetch Standard, "forbidden request-header", and what is common
#: besides): a page of another site can have them sent.
_SENT_BY_ITSELF = (
    r"cookie2?|host|origin|referer|user-agent|date|dnt|te|trailer|transfer-encoding|upgrade(-insecure-requests)?|via|"
    r"expect|connection|keep-alive|priority|pragma|range|forwarded|from|purpose|service-worker|last-event-id|save-data|"
    r"downlink|ect|rtt|device-memory|viewport-width|width|dpr|x-real-ip|x-requested-with|x-request-id|"
    r"(accept|access-control|cache|content|if|max|proxy|sec|x-forwarded|x-client-data)(-.*)?"
)


class TokenHeader:
    """The header ``name`` as the place of the token, in ``Authorization`` as a bearer token (RFC 6750).

    A request that has it uses it, be it empty, and then its cookie counts for nothing: a page of another site can
    make a browser send a cookie, but not such a header. Another scheme in ``Authorization`` is none of ours, and so is
    the token ``foreign``, which something else of the application asks for.
    """

    def __init__(self, name: str, *, foreign: bytes | None = None) -> None:
        if not re.fullmatch(_NAME, name) or re.fullmatch(_SENT_BY_ITSELF, name.lower()):
            raise ConfigError(
                f'IDLESESSION_TOKEN_HEADER is {name!r}; it must be "Authorization", or the name of a header that '
                'nothing else uses, such as "X-Session". A browser or a proxy must not send it by itself.'
            )
        self.name = name
        self._foreign = foreign
        self._key = "HTTP_" + name.upper().replace("-", "_")
        self._is_bearer = name.lower() == "authorization"

    def is_used(self, request: Request) -> bool:
        """Return whether the request has the header."""
        value = request.environ.get(self._key)
        return value is not None and (not self._is_bearer or _scheme_of(value) == _SCHEME)

    def is_used_now(self) -> bool:
        """Return whether the present request, if there is one, has the header."""
        return has_request_context() and self.is_used(request)

    def find(self, request: Request) -> str | None:
        """Return what the header of a request that uses it says; None if that is nothing. Two of them arrive as one
        with a comma in it, which is in no token.
        """
        value: str = request.environ[self._key].strip()
        shown = value.partition(" ")[2].strip() if self._is_bearer else value
        if self._foreign is not None and hmac.compare_digest(shown.encode(), self._foreign):
            return None
        return shown or None

    def tell(self, response: Response, token: str) -> None:
        """Give the client its new token, or an empty one. No cache may keep it."""
        response.headers[TOKEN_HEADER] = token
        response.headers["Cache-Control"] = "no-store"
        response.vary.update(("Cookie", self.name))


def _scheme_of(value: str) -> str:
    return value.strip().partition(" ")[0].lower()
