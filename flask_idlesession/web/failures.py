"""Answers requests whose store failed: the one module that turns a failure into a response."""

import re

from flask import after_this_request
from flask import Flask
from flask import has_request_context
from flask import request
from flask import Response

from ..model.errors import StoreError
from ..sessions.session import Session

#: Headers that tell of a body, which is replaced by another one (RFC 9110, 8), and of how long it may be kept.
_OF_THE_BODY = re.compile(
    r"content-(?!security)|etag|last-modified|location|accept-ranges|cache-control|expires|age$", re.IGNORECASE
)

#: Headers of which a response may have several.
_MANY = ("set-cookie", "vary")


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
        if name.lower() not in _MANY:
            del response.headers[name]
    response.headers.extend(answer.headers)
    response.response = answer.response


def note_failure(session: Session) -> None:
    """Let the functions that run after the request find the session empty, since its view has met a failure.

    They run when nothing is left that could answer a failure of theirs.
    """

    def give_up(response: Response) -> Response:
        session._facts.is_over = True
        return response

    if has_request_context():
        after_this_request(give_up)
