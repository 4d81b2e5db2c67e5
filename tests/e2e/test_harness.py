"""The harness itself: a mock provider from start to end."""

import pytest

from tests.e2e.harness import Mesh, get_json, status_of

pytestmark = pytest.mark.e2e


def test_a_mock_provider_starts_fails_on_demand_and_ends(mesh: Mesh) -> None:
    mock = mesh.mock("alpha")

    mock.set_faults(http=503)
    failing = status_of(f"{mock.url}/v1/models")
    mock.set_faults()

    assert failing == 503
    assert get_json(f"{mock.url}/v1/models")["data"][0]["id"] == "mock-model"
    assert mock.calls()["calls"] == 0
    mock.end()
    assert mock.exit_code() == 0
