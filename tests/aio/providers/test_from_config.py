"""From a section of the configuration to its provider."""

import pytest

from meshcore.aio.providers import EchoProvider, OpenAiProvider, UnavailableProvider, provider_from
from meshcore.clock import monotonic, utcnow
from meshcore.config_sections import ProviderKind, ProviderSection


@pytest.mark.parametrize(
    ("kind", "provider"),
    [
        (ProviderKind.OPENAI, OpenAiProvider),
        (ProviderKind.ECHO, EchoProvider),
        (ProviderKind.UNAVAILABLE, UnavailableProvider),
    ],
)
def test_each_kind_has_its_provider(kind: ProviderKind, provider: type) -> None:
    section = ProviderSection(name="alpha", kind=kind, models=("m1",), max_concurrent=3)

    made = provider_from(section, "", clock=monotonic, utcnow=utcnow)

    assert isinstance(made, provider)
    assert made.name == "alpha"
    assert made.descriptors()[0].params["model"] == "m1"
    assert made.descriptors()[0].max_concurrent == 3
