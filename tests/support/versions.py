"""The versions of the packages that the tests run with."""

import importlib.metadata

#: Flask's version, as three numbers.
FLASK = tuple(int(part) for part in importlib.metadata.version("flask").split(".")[:3] if part.isdigit())
