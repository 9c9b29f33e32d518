"""Tools for the tests of an application, and of a store."""

from .clock import FakeClock as FakeClock
