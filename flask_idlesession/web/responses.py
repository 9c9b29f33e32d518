"""Small things that are done to a response."""

import re

from flask import Flask
from flask import has_request_context
from flask import request
from flask import Response

from ..model.errors import StoreError

#: Headers that tell of a body, which is replaced by another one (RFC 9110, 8), and of how long it may be kept.
_OF_THE_BODY = re.compile(
    r"content-(?!security)|etag|last-modified|location|accept-ranges|cache-control|expires|age", re.I
)


def answer_failure(app: Flask, response: Response, error: StoreError) -> None:
    """Turn the response into what the application answers to a store that failed, 503 by default: never a page that
    says "saved" when nothing was.

    Cookies stay, and so does what functions after the request have set, such as a policy of the content.
    """
    blueprints = request.blueprints if has_request_context() else []
    handler = app._find_error_handler(error, blueprints)
    answer = app.make_response(error if handler is None else app.ensure_sync(handler)(error))
    response.close()
    response.status_code = answer.status_code
    for name in {name for name, _ in response.headers if _OF_THE_BODY.match(name) or name in answer.headers}:
        if name.lower() not in ("set-cookie", "vary"):
            del response.headers[name]
    response.headers.extend(answer.headers)
    response.response = answer.response
