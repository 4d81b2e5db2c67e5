"""A provider from its section of the node's configuration."""

from meshcore.aio.providers.base import Provider
from meshcore.aio.providers.echo import EchoProvider
from meshcore.aio.providers.openai_http import OpenAiProvider
from meshcore.aio.providers.unavailable import UnavailableProvider
from meshcore.clock import Clock, UtcNow
from meshcore.config_sections import ProviderKind, ProviderSection


def provider_from(section: ProviderSection, api_key: str, *, clock: Clock, utcnow: UtcNow) -> Provider:
    """Return the provider that `section` describes, not started yet; `api_key` "" sends none."""
    if section.kind is ProviderKind.ECHO:
        return EchoProvider(section.name, section.models, max_concurrent=section.max_concurrent)
    if section.kind is ProviderKind.UNAVAILABLE:
        return UnavailableProvider(section.name, section.models, max_concurrent=section.max_concurrent)
    return OpenAiProvider(section, api_key, clock=clock, utcnow=utcnow)
