"""The labels of sessions: the names that the package itself uses, and what a label may be."""

from collections.abc import Mapping

#: When the user last proved who they are, in POSIX seconds.
AUTHENTICATED_AT = "authenticated_at"

#: How the user proved who they are, in the application's own words.
LEVEL = "level"

#: Where a session was last seen; with "first_" before them, where its user logged in.
ADDRESS, AGENT = "address", "agent"

#: The browser's own words for its name and platform (client hints), noted at log-in.
DEVICE = "device"

#: When the session was seen from somewhere else, so that its user is to prove who they are.
SUSPECT = "suspect"

#: Marks a record that is no session: one that takes turns at a user's log-ins. With this value it is one that is to
#: stay, and to be carried along where sessions are moved.
TURN = "__idlesession_turn"
LASTING = 2

#: Labels that the info of a signal has, and no store: who ended the session, and that a user who was logged in showed
#: again who they are.
ENDED_BY, AGAIN = "ended_by", "again"

#: The most bytes that the names and texts of one log-in's labels may have in UTF-8: every store has room for them.
_MOST_BYTES = 32_768

_OWN = frozenset({AUTHENTICATED_AT, LEVEL, ADDRESS, AGENT, DEVICE, SUSPECT, ENDED_BY, AGAIN})


def check_labels(labels: Mapping[str, object]) -> None:
    """Raise TypeError or ValueError for labels that an application cannot put on a session."""
    size = 0
    for name, value in labels.items():
        if not isinstance(name, str) or not isinstance(value, str | int | float):
            raise TypeError(f"The label {name!r} is {value!r}; labels are texts or numbers by name. [ISE056]")
        if name in _OWN or name.startswith(("first_", "__idlesession_")):
            raise ValueError(
                f"The label {name!r} has a name that the package itself uses; choose another name. [ISE056]"
            )
        try:
            size += len(name.encode()) + len(str(value).encode())
        except UnicodeEncodeError:
            raise ValueError(
                f"The label {name!r} is {value!r}, which has half a character; UTF-8 cannot hold it. [ISE056]"
            ) from None
    if size > _MOST_BYTES:
        raise ValueError(
            f"The labels have {size} bytes; a session may have {_MOST_BYTES} at most. Keep more in the session."
            " [ISE056]"
        )
