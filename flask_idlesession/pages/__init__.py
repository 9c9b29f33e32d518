"""Shows users their sessions: the warning before the end, the page after it, and where they are signed in."""
