"""What the tests share: the markers, and hypothesis's settings."""

import os

import pytest
from hypothesis import HealthCheck
from hypothesis import settings

pytest.register_assert_rewrite("store_contract", "store_races", "linearizability")

settings.register_profile("plain", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=100)
settings.register_profile("soak", parent=settings.get_profile("plain"), max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "plain"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*flags): what a store must be able to do for this test of the contract")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "soak" in config.getoption("markexpr"):
        return
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(pytest.mark.skip(reason='This takes minutes; run it with "-m soak".'))
