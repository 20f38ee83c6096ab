"""What all tests share: the public data where they are, no network, and one profile for hypothesis."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A loaded machine must not fail a test: no deadline, and the same examples in every run.
settings.register_profile(
    "brainalign", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], max_examples=40
)
settings.load_profile("brainalign")


def _real_data() -> Path | None:
    """Find the public data: beside the checkout, or where BRAINALIGN_DATA says."""
    named = os.environ.get("BRAINALIGN_DATA")
    places = [Path(__file__).parents[2] / "shared" / "data", *([Path(named).expanduser()] if named else [])]
    return next((p for p in places if (p / "natsound165").is_dir()), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if _real_data() is not None:
        return
    absent = pytest.mark.skip(reason="the public data are neither in ../shared/data nor in BRAINALIGN_DATA")
    for item in items:
        if "realdata" in item.keywords:
            item.add_marker(absent)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many hostile inputs each reader was given (tests/hostile, tests/fuzz)."""
    counts: dict[str, list[float]] = {}
    for report in (r for reports in terminalreporter.stats.values() for r in reports):
        for key, value in getattr(report, "user_properties", ()):
            if key == "hostile_inputs" and report.when == "call":
                name, tried, taken, slowest = value
                total = counts.setdefault(name, [0, 0, 0.0])
                counts[name] = [total[0] + tried, total[1] + taken, max(total[2], slowest)]
    if counts:
        terminalreporter.section("hostile inputs: reader, tried, of these taken, slowest (s)")
        for name, (tried, taken, slowest) in sorted(counts.items()):
            terminalreporter.write_line(f"{name:24}{tried:8}{taken:8}{slowest:8.2f}")
        terminalreporter.write_line(f"{'together':24}{sum(c[0] for c in counts.values()):8}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of the public data; for tests that are marked ``realdata``."""
    folder = _real_data()
    if folder is None:
        pytest.skip("the public data are neither in ../shared/data nor in BRAINALIGN_DATA")
    return folder


@pytest.fixture(autouse=True)
def _point_to_real_data(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "realdata" in request.keywords:
        monkeypatch.setenv("BRAINALIGN_DATA", str(request.getfixturevalue("shared_data")))


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Fail whatever reaches out: tests run offline."""
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise RuntimeError(f"a test tried to reach {address[0]}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", local_only)
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Give Chromium by Playwright, in which sounds play unasked; skip where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    from browsing import CHROMIUM

    if CHROMIUM is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on the path")
    with playwright.sync_playwright() as play:
        launched = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        yield launched
        launched.close()
