"""What the tests of an application, and of a store, need."""

from .clock import FakeClock as FakeClock
