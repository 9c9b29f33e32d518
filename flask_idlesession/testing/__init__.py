"""Tools for the tests of an application, and of a store."""

from .clients import assert_logged_in as assert_logged_in
from .clients import assert_logged_out as assert_logged_out
from .clients import logged_in as logged_in
from .clients import session_ending_of as session_ending_of
from .clients import session_info_of as session_info_of
from .clock import FakeClock as FakeClock
from .clock import IdleClock as IdleClock
