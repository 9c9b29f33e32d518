"""Who the user of a session is, and what follows from that."""
