"""A small world in which runs live: a log, beats, nodes that crash and stall, messages that get lost.

Everything goes by one source of chance, so a story can be told again. Time is one true clock; nodes see it
only at their own moments. The rules are the real ones; what is simulated is the engine and the network.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

import msgspec

from meshcore.errors import IllegalMove
from meshcore.liveness import Beat, Observer, SelfFence
from meshcore.run_events import (
    AnyEvent,
    CancelRequested,
    ChunkEvent,
    Claimed,
    ClaimReason,
    Created,
    End,
    Released,
    RunStatus,
)
from meshcore.run_orphans import Move, OrphanPolicy, judge, reason_to_claim
from meshcore.run_record import EMPTY, Head, Record
from meshcore.run_writer import RunWriter, Turn
from meshcore.runs import RunState, fold
from meshcore.testing import ManualClock

LEASE_SECONDS = 4.0
CHUNKS = 6
POLICY = OrphanPolicy(
    lease_seconds=LEASE_SECONDS, cancel_seconds=8.0, stall_seconds=40.0, stall_grace_seconds=4.0
)


class Conflict(Exception):
    """The log has moved."""


@dataclass
class Log:
    """The engine: the only write is compare-and-append."""

    records: list[tuple[Record, str]] = field(default_factory=list)  # with who wrote it
    beats: dict[str, Beat] = field(default_factory=dict)

    @property
    def head(self) -> Head:
        last = self.records[-1][0] if self.records else None
        return Head(last.last_seq, len(self.records)) if last else EMPTY

    def append(self, head: Head, record: Record, writer: str) -> Head:
        if head != self.head:
            raise Conflict
        self.records.append((record, writer))
        return self.head

    def behind(self, head: Head) -> Iterator[tuple[Record, Head]]:
        for at in range(head.token, len(self.records)):
            record = self.records[at][0]
            yield record, Head(record.last_seq, at + 1)

    def state(self) -> RunState:
        return fold(event for record, _ in self.records for event in record.events)


class Node:
    """A process: what it has read, what it is about to append, what it executes."""

    def __init__(self, name: str, world: "World") -> None:
        self.name = name
        self.world = world
        self.start()

    def start(self) -> None:
        self.instance = f"{self.name}#{self.world.number()}"
        self.alive, self.counter = True, 0
        self.writer: RunWriter | None = None  # of the run that it executes, claims or ends
        self.pending: tuple[Head, Record] | None = None
        self.observer = Observer(lease_seconds=LEASE_SECONDS, clock=self.world.clock)
        self.fence = SelfFence(lease_seconds=LEASE_SECONDS, clock=self.world.clock)
        self.log_seen_at = (-1, self.world.clock())

    def crash(self) -> None:
        self.alive, self.writer, self.pending = False, None, None

    def beat(self) -> None:
        if self.fence.is_closed():
            self.give_up()
            self.start()
        self.counter += 1
        sent_at = self.world.clock()
        if self.world.reaches():
            self.world.log.beats[self.name] = Beat(self.name, self.instance, self.counter)
            if self.world.reaches():
                self.fence.beat(sent_at)

    def give_up(self) -> None:
        self.writer, self.pending = None, None

    def look(self) -> None:
        if self.world.reaches():
            self.observer.read(self.world.log.beats.values())
        length = len(self.world.log.records)
        if length != self.log_seen_at[0]:
            self.log_seen_at = (length, self.world.clock())

    def sweep(self) -> None:
        """Judge the run, and begin to append what follows."""
        self.look()
        if self.writer is not None:
            return
        writer = RunWriter(self.instance)
        writer.behind(self.world.log.behind(EMPTY))
        state = writer.state
        if writer.owns and state.end is None:
            self.draft(writer, Released(reason="not executed"))
            return
        if state.owner is not None:
            self.observer.expect(state.owner.instance)
        life = self.observer.life(state.owner.instance if state.owner else "")
        quiet = self.world.clock() - self.log_seen_at[1]
        verdict = judge(state, life, quiet_seconds=quiet, policy=POLICY)
        if verdict.move is Move.END:
            self.draft(
                writer, End(status=verdict.status, reason=verdict.reason, final_seq=state.last_seq + 1)
            )
        elif verdict.move is Move.CLAIM:
            self.draft(writer, self.claim(state))

    def claim(self, state: RunState) -> Claimed:
        reason = reason_to_claim(state, can_continue=self.world.chance.random() < 0.5)
        begun = state.generation_seq if reason is ClaimReason.RESTARTED else None
        return Claimed(
            node=self.name,
            instance=self.instance,
            epoch=state.epoch + 1,
            reason=reason,
            superseded_from=begun,
        )

    def work(self) -> None:
        """Generate the next piece, if the run is ours and we may."""
        writer = self.writer
        if writer is None or self.pending or not writer.owns or self.fence.is_closed():
            return
        state = writer.state
        if state.cancelled_by is not None:
            self.draft(writer, End(status=RunStatus.CANCELLED, final_seq=state.last_seq + 1))
        elif state.next_index > CHUNKS:
            self.draft(writer, End(status=RunStatus.COMPLETED, final_seq=state.last_seq + 1))
        else:
            self.draft(writer, chunk(state.next_index))

    def release(self) -> None:
        if self.writer is not None and self.writer.owns and not self.pending:
            self.draft(self.writer, Released(reason="draining"))

    def draft(self, writer: RunWriter, *events: AnyEvent) -> None:
        self.writer = writer
        if not writer.state.allows(events[0]):
            self.give_up()
            return
        self.pending = writer.head, writer.draft(f"id-{self.world.number()}", *events)

    def deliver(self) -> None:
        """Let the pending append reach the log, or not, and its acknowledgement reach us, or not."""
        if self.pending is None or self.writer is None:
            return
        head, record = self.pending
        try:
            if not self.world.reaches():
                raise Conflict  # what was not acknowledged is looked for like what conflicted
            new = self.world.log.append(head, record, self.instance)
            if not self.world.reaches():
                raise Conflict
        except Conflict:
            self.settle(self.writer)
        else:
            self.writer.stored(new)
            self.pending = None
            self.rest(self.writer)

    def settle(self, writer: RunWriter) -> None:
        turn = writer.behind(self.world.log.behind(writer.head))
        self.pending = None
        if turn is Turn.STOP:
            self.give_up()
        elif turn is Turn.RETRY:
            self.pending = writer.head, writer.again()
        else:
            self.rest(writer)

    def rest(self, writer: RunWriter) -> None:
        """Keep what we execute, forget what we have done."""
        if writer.state.end is not None or not writer.owns:
            self.give_up()


def chunk(index: int) -> ChunkEvent:
    return ChunkEvent(index=index, delta=msgspec.Raw(b'{"content":"%d "}' % index))


class World:
    """Three nodes, one run, one who may cancel it."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.clock = ManualClock()
        self.log = Log()
        self.loss = 0.2
        self._number = 0
        self.nodes = [Node(name, self) for name in ("a", "b", "c")]
        self.canceller: RunWriter | None = None
        created = Created(capability="llm.chat", request=msgspec.Raw(b"{}"), log_id="abcdef")
        self.log.append(EMPTY, RunWriter("client").draft("created", created), "client")

    def number(self) -> int:
        self._number += 1
        return self._number

    def reaches(self) -> bool:
        """Whether a message arrives."""
        return self.chance.random() >= self.loss

    def cancel(self) -> None:
        """A client asks for the end; its writer goes on until it is heard or too late."""
        writer = RunWriter("canceller")
        writer.behind(self.log.behind(EMPTY))
        event = CancelRequested(by="alice")
        if writer.state.allows(event):
            record = writer.draft(f"id-{self.number()}", event)
            self.log.append(writer.head, record, "canceller")

    def step(self) -> None:
        """Let one thing happen."""
        node = self.chance.choice(self.nodes)
        alive: list[Callable[[], None]] = [node.beat, node.beat, node.look, node.sweep, node.work, node.work]
        alive += [node.deliver, node.deliver, node.deliver]
        rare: list[Callable[[], None]] = [node.crash, node.release, self.cancel, self.long_pause]
        roll = self.chance.random()
        if roll < 0.25:
            self.clock.advance(self.chance.uniform(0.0, 0.6))
        elif not node.alive:
            if roll < 0.5:
                node.start()
        elif roll < 0.975:
            self.chance.choice(alive)()
        else:
            self.chance.choice(rare)()

    def long_pause(self) -> None:
        """Everybody but one goes on beyond a lease; that one wakes with what it had in hand.

        Mostly it is the owner in the middle of an append, which wakes right behind the claim it lost by.
        """
        busy = [node for node in self.nodes if node.pending is not None]
        asleep = self.chance.choice(busy or self.nodes)
        for _ in range(20):
            if isinstance(self.log.records[-1][0].events[-1], Claimed) and self.chance.random() < 0.5:
                break
            self.clock.advance(0.5)
            for node in self.nodes:
                if node is not asleep and node.alive:
                    node.beat()
                    for act in self.chance.sample((node.sweep, node.deliver, node.work), 2):
                        act()
        if asleep.alive:
            asleep.deliver()
            asleep.deliver()

    def calm(self) -> RunState:
        """Let everybody live and every message arrive until the run has ended."""
        self.loss = 0.0
        for _ in range(400):
            self.clock.advance(0.5)
            for node in self.nodes:
                if not node.alive:
                    node.start()
                for act in (node.beat, node.sweep, node.deliver, node.work, node.deliver):
                    act()
            if (state := self.log.state()).end is not None:
                return state
        return self.log.state()


def check(log: Log) -> None:
    """Fail unless the log is what it must be, whoever wrote it in whatever order."""
    state, ids = RunState(), set[str]()
    for record, writer in log.records:
        assert record.first_seq == state.last_seq + 1, "a gap"
        assert record.append_id not in ids, f"{record.append_id} is there twice"
        ids.add(record.append_id)
        for event in record.events:
            assert state.end is None, "something behind the end"
            if isinstance(event, ChunkEvent | Released):
                assert state.owned_by(writer), f"{writer} wrote what is not its own"
            try:
                state.apply(event)
            except IllegalMove as exc:
                raise AssertionError(f"{writer} wrote what may not stand there") from exc
