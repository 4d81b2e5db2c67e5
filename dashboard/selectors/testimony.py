"""What several nodes' words on one thing amount to: is it down, or only the way to it?

A node is a witness while it is heard. Its breaker says that the thing is down (open, half-open), fine
(closed) or that there is doubt (suspect). What an operator forced is a wish and no word on the thing. Doubt
takes no side, but where there is any, nobody is called the only one.

    one says down, two or more say fine       only that one sees it: the path, not the thing
    one says fine, two or more say down       all but that one see it down
    one against one                           they disagree
    all who say anything say down, two up     the thing, not a path
"""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from meshcore.breaker import BreakerState

NAMES_MAX = 3  # in a sentence; the rest is a number
ALONE_AGAINST = 2  # witnesses for the contrary that make one the odd one out


class Word(enum.StrEnum):
    """What a witness says."""

    DOWN = "down"
    FINE = "fine"
    DOUBT = "doubt"


WORDS = {
    BreakerState.OPEN: Word.DOWN,
    BreakerState.HALF_OPEN: Word.DOWN,
    BreakerState.CLOSED: Word.FINE,
    BreakerState.SUSPECT: Word.DOUBT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrases:
    """How the findings on a kind of thing are said; `{it}` is left for the thing itself."""

    alone: str
    all_but: str
    everybody: str
    single: str
    some: str
    others: str


PROVIDER = Phrases(
    alone="only {who} sees {{it}} down: path, not provider",
    all_but="all but {who} see {{it}} down",
    everybody="all {count} nodes see {{it}} down: provider, not path",
    single="{who} sees {{it}} down, and no other node can tell",
    some="{who} {see} {{it}} down",
    others="{count} {others} {do}n't",
)
PEER = Phrases(
    alone="only {who} can't reach {{it}}: path, not node",
    all_but="only {who} reaches {{it}}",
    everybody="none of {count} nodes reaches {{it}}",
    single="{who} can't reach {{it}}, and no other node can tell",
    some="{who} can't reach {{it}}",
    others="{count} {others} can",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What it amounts to: `said`, "" when nobody says down, and who stands against the others.

    `down` and `doubt` count nodes.
    """

    said: str = ""
    odd: frozenset[str] = frozenset()
    down: int = 0
    doubt: int = 0

    @property
    def sentence(self) -> str:
        """What is said beside the thing's name."""
        return self.said.format(it="it")

    def about(self, name: str) -> str:
        """Return the sentence with the thing's name in it."""
        if "{it}" not in self.said:
            return f"{name}: {self.said}"
        sentence = self.said.format(it=name)
        return sentence[0].upper() + sentence[1:] if sentence.startswith(("only ", "all ")) else sentence


def find(states: Iterable[tuple[str, BreakerState]], *, phrases: Phrases) -> Finding:
    """Return what the states that nodes report of one thing amount to; only of nodes that are heard."""
    heard: dict[Word, list[str]] = {word: [] for word in Word}
    for name, state in states:
        if state in WORDS:
            heard[WORDS[state]].append(name)
    down, fine, doubt = (sorted(heard[word]) for word in (Word.DOWN, Word.FINE, Word.DOUBT))
    said, odd = _judge(down, fine, doubting=bool(doubt), phrases=phrases)
    return Finding(said=said, odd=frozenset(odd), down=len(down), doubt=len(doubt))


def _judge(
    down: Sequence[str], fine: Sequence[str], *, doubting: bool, phrases: Phrases
) -> tuple[str, Sequence[str]]:
    if not down:
        return "", ()
    if not doubting:
        if len(down) == 1 and len(fine) >= ALONE_AGAINST:
            return phrases.alone.format(who=down[0]), down
        if len(fine) == 1 and len(down) >= ALONE_AGAINST:
            return phrases.all_but.format(who=fine[0]), fine
        if len(down) == len(fine) == 1:
            return f"{names(sorted([*down, *fine]))} disagree", [*down, *fine]
        if len(down) == 1:
            return phrases.single.format(who=down[0]), ()
        if not fine:
            return phrases.everybody.format(count=len(down)), ()
    return _counted(down, fine, phrases), ()


def _counted(down: Sequence[str], fine: Sequence[str], phrases: Phrases) -> str:
    some = phrases.some.format(who=names(down), see="sees" if len(down) == 1 else "see")
    if not fine:
        return some
    one = len(fine) == 1
    others = phrases.others.format(
        count=len(fine), others="other" if one else "others", do="does" if one else "do"
    )
    return f"{some}, {others}"


def names(found: Sequence[str]) -> str:
    """Return names as in a sentence: the first few, and how many more."""
    shown = list(found)
    if len(shown) > NAMES_MAX:
        shown = [*shown[:NAMES_MAX], f"{len(shown) - NAMES_MAX} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
