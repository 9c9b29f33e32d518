"""The user of a session, and what follows from that: guards, revoking, binding, saved forms."""
