"""A session's life, without HTTP: it begins, is read and changed, and ends."""
