"""Threads, forks and locks: what a library needs to live in any process."""
