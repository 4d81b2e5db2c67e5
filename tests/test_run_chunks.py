"""What of a provider's stream goes into a run's log, and what of a log somebody else goes on from."""

import msgspec

from meshcore.openai_wire import Chunk, parse_chunk
from meshcore.run_chunks import Chunking, begun_of, model_of
from meshcore.run_events import ChunkEvent, ClaimReason
from meshcore.runs import RunState, fold
from tests.test_runs import CREATED, claimed

FIRST = {"id": "c1", "created": 7, "object": "chat.completion.chunk"}


def chunk(**choice: object) -> Chunk:
    return parse_chunk(msgspec.json.encode({**FIRST, "choices": [{"index": 0, **choice}]}))


def state_behind(*events: ChunkEvent) -> RunState:
    return fold([CREATED, claimed("a", 1), *events])


def test_content_is_numbered_and_the_first_keeps_its_frame() -> None:
    chunking = Chunking(model="m")

    (one,) = chunking.take([chunk(delta={"role": "assistant", "content": "a"})])
    (two,) = chunking.take([chunk(delta={}, finish_reason="stop")])

    assert (one.index, one.frame) == (1, {"id": "c1", "created": 7, "model": "m"})
    assert (two.index, two.frame, two.finish_reason) == (2, None, "stop")
    assert bytes(one.delta) == b'{"role":"assistant","content":"a"}'


def test_who_speaks_and_what_was_used_are_no_part_of_the_answer() -> None:
    chunking = Chunking()
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "x": {"y": 1}}

    announced = chunking.take([chunk(delta={"role": "assistant"})])
    used = chunking.take([parse_chunk(msgspec.json.encode({"choices": [], "usage": usage}))])

    assert (announced, used, chunking.usage) == ([], [], usage)


def test_a_text_completion_is_content() -> None:
    (event,) = Chunking().take([parse_chunk(b'{"choices":[{"text":"a"}]}')])

    assert bytes(event.delta) == b'{"content":"a"}'


def test_what_is_too_long_for_a_record_is_several_events() -> None:
    chunking = Chunking()

    pieces = chunking.take([chunk(delta={"content": "a" * 40_000})])
    (behind,) = chunking.take([chunk(delta={"content": "b"})])

    assert [piece.index for piece in pieces] == list(range(1, len(pieces) + 1))
    assert behind.index == len(pieces) + 1 > 2
    assert [piece.frame is None for piece in pieces][:2] == [False, True]


def test_a_whole_answer_is_one_event_without_the_stamps() -> None:
    (event,) = Chunking().whole({"output": {"data": []}, "_trace_id": "t"})

    assert (bytes(event.delta), event.finish_reason) == (b'{"output":{"data":[]}}', "stop")


def test_another_goes_on_from_the_text_so_far() -> None:
    chunking = Chunking(model="m")
    events = [
        *chunking.take([chunk(delta={"content": "a "})]),
        *chunking.take([chunk(delta={"content": "b"})]),
    ]

    begun = begun_of(state_behind(*events))

    assert (begun.text, begun.chunks, begun.beyond_text, begun.finished) == ("a b", 2, False, False)
    assert msgspec.json.decode(begun.first or b"") == {"id": "c1", "created": 7, "model": "m"}
    assert model_of(state_behind(*events)) == "m"


def test_what_is_more_than_text_or_at_its_end_says_so() -> None:
    tool = Chunking().take([chunk(delta={"tool_calls": [{"index": 0}]})])
    finished = Chunking().take([chunk(delta={"content": "a"}, finish_reason="stop")])

    assert begun_of(state_behind(*tool)).beyond_text
    assert begun_of(state_behind(*finished)).finished


def test_of_nothing_there_is_nothing_to_go_on_from() -> None:
    begun = begun_of(state_behind())

    assert (begun.chunks, begun.first, model_of(state_behind())) == (0, None, "")


def test_a_restart_forgets_the_frame_of_the_generation_before() -> None:
    events = Chunking(model="m").take([chunk(delta={"content": "a"})])
    state = fold([CREATED, claimed("a", 1), *events, claimed("b", 2, ClaimReason.RESTARTED, 1)])

    assert (model_of(state), begun_of(state).chunks) == ("", 0)
