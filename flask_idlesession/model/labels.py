"""The names of the labels that the package itself puts on sessions."""

#: When the user last proved who they are, in POSIX seconds.
AUTHENTICATED_AT = "authenticated_at"

#: How the user proved who they are, in the application's own words.
LEVEL = "level"

#: Where a session was last seen; with "first_" before them, where its user logged in.
ADDRESS, AGENT = "address", "agent"

#: What the browser says itself of its name and platform, noted at log-in.
DEVICE = "device"

#: When the session was seen from somewhere else, so that its user is to prove who they are.
SUSPECT = "suspect"

#: Marks a record that is no session: one that takes turns at a user's log-ins.
TURN = "__idlesession_turn"

#: Labels that the info of a signal has, and no store: who ended the session, and that a user who was logged in showed
#: again who they are.
ENDED_BY, AGAIN = "ended_by", "again"
