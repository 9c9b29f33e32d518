"""The values of a session and their bytes: no threads, no input and output."""
