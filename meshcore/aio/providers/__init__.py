"""Providers: what answers calls on this node.

base.py         what the bus asks of a provider
openai_http.py  any upstream that speaks the OpenAI wire
echo.py         says back what it was told
unavailable.py  is there and never answers
llm_service.py  echo or unavailable, as a service of the bus
from_config.py  a provider from its section of the configuration
"""

from meshcore.aio.providers.base import Provider
from meshcore.aio.providers.echo import EchoProvider
from meshcore.aio.providers.from_config import provider_from
from meshcore.aio.providers.llm_service import LlmService
from meshcore.aio.providers.openai_http import OpenAiProvider
from meshcore.aio.providers.unavailable import UnavailableProvider

__all__ = [
    "EchoProvider",
    "LlmService",
    "OpenAiProvider",
    "Provider",
    "UnavailableProvider",
    "provider_from",
]
