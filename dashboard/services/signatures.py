"""Error signatures: what errors of one kind have in common, each text stored once.

    "timeout: no first token within 1.0 s"  ->  "timeout: no first token within # s"

Messages come from providers, so there may be any number of them: beyond `SIGNATURES_MAX` new kinds share one.
"""

import re
from collections.abc import Collection

from dashboard.models import SIGNATURE_MAX_CHARACTERS, SKIP_BITS, ErrorSignature
from meshcore.trace import Reason, RoutingTrace

SIGNATURES_MAX = 10_000  # 2 MiB; counted only when a new one comes
OTHER = "(other)"
CUT_CHARACTERS = 1000  # of a message that are looked at

# Ids in hexadecimal have a digit, words that look like them don't.
VARIABLE = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|(?<![0-9a-z])(?=[a-f]*[0-9])[0-9a-f]{8,}(?![0-9a-z])"
    r"|[0-9]+(?:[.,:][0-9]+)*",
    re.IGNORECASE | re.ASCII,
)


def signature(code: str, message: str) -> str:
    """Return what an error has in common with its kind; "" for none."""
    plain = " ".join(VARIABLE.sub("#", message[:CUT_CHARACTERS]).split())
    return ": ".join(part for part in (code, plain) if part)[:SIGNATURE_MAX_CHARACTERS]


def skips(trace: RoutingTrace) -> int:
    """Return SKIP_BITS of why candidates and entries of an alias were passed over."""
    bits = 0
    for reason in (*(each.reason for each in trace.candidates), *(each.reason for each in trace.alias_skips)):
        if reason in KNOWN:
            bits |= 1 << SKIP_BITS[Reason(reason)]
    return bits


KNOWN = frozenset(reason.value for reason in SKIP_BITS)


def keys(texts: Collection[str]) -> dict[str, int]:
    """Return the keys of signatures, stored in the caller's transaction where they are new.

    One query when all are known, four when some are new, none for none. Where there is no more room new ones
    have the key of `OTHER`.
    """
    found = _keys(texts) if texts else {}
    return {text: found[text] if text in found else found[OTHER] for text in texts}


def _keys(texts: Collection[str]) -> dict[str, int]:
    """Return the keys of texts; those that there is no more room for are left out, and `OTHER` is there."""
    found = _stored(texts)
    missing = sorted(
        set(texts) - found.keys()
    )  # in one order everywhere: two transactions can't wait in a ring
    if not missing:
        return found
    if ErrorSignature.objects.count() + len(missing) > SIGNATURES_MAX:
        missing = [OTHER]
    ErrorSignature.objects.bulk_create((ErrorSignature(text=text) for text in missing), ignore_conflicts=True)
    return found | _stored(missing)


def _stored(texts: Collection[str]) -> dict[str, int]:
    return dict(ErrorSignature.objects.filter(text__in=texts).values_list("text", "pk"))
