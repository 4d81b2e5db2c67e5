"""What the mock plays: every control, every fault, and which of them wins."""

import msgspec
import pytest

from meshcore.mock_script import (
    CHUNK_MS_MAX,
    CHUNKS_MAX,
    Ending,
    Faults,
    begun_answer,
    embedding,
    parse_faults,
    play,
)

NO_FAULTS = Faults()
FIVE = ("chunk-1 ", "chunk-2 ", "chunk-3 ", "chunk-4 ", "chunk-5 ")


def test_without_controls_it_plays_five_chunks_50_ms_apart_to_the_end() -> None:
    answer = play("hello", NO_FAULTS)

    assert (answer.texts, answer.pause_seconds, answer.ending) == (FIVE, 0.05, Ending.FINISH)
    assert (answer.http, answer.hang, answer.delay_seconds) == (0, False, 0.0)


@pytest.mark.parametrize(
    ("controls", "chunks", "pause_seconds"),
    [
        ("slow:20x500", 20, 0.5),
        ("please slow:2x0 now", 2, 0.0),
        ("many:20", 20, 0.05),
        ("many:20 slow:3x10", 3, 0.01),
        ("many:0", 1, 0.05),
        ("slow:x", 5, 0.05),
    ],
)
def test_controls_set_the_pace(controls: str, chunks: int, pause_seconds: float) -> None:
    answer = play(controls, NO_FAULTS)

    assert (len(answer.texts), answer.pause_seconds) == (chunks, pause_seconds)


def test_the_pace_has_bounds() -> None:
    answer = play("slow:999999999x999999999", NO_FAULTS)

    assert (len(answer.texts), answer.pause_seconds) == (CHUNKS_MAX, CHUNK_MS_MAX / 1000)


def test_a_stamp_stands_before_each_chunk() -> None:
    answer = play("slow:2x0 stamp:on", NO_FAULTS, started_ms=1700000000123)

    assert answer.texts == ("t1700000000123 chunk-1 ", "t1700000000123 chunk-2 ")


@pytest.mark.parametrize(
    ("controls", "ending", "chunks"),
    [
        ("fail:after=2", Ending.DROP, 2),
        ("err:after=0", Ending.ERROR, 0),
        ("hang:after=3", Ending.HANG, 3),
        ("hang:after=3 err:after=1", Ending.ERROR, 1),
        ("fail:after=9", Ending.DROP, 5),
    ],
)
def test_controls_end_the_answer_early(controls: str, ending: Ending, chunks: int) -> None:
    answer = play(controls, NO_FAULTS)

    assert (answer.ending, answer.texts) == (ending, FIVE[:chunks])


def test_a_status_is_answered_instead() -> None:
    assert play("fail:http=503", NO_FAULTS).http == 503
    assert play("fail:http=200", NO_FAULTS).http == 0


def test_faults_hold_for_callers_who_ask_for_nothing() -> None:
    faults = Faults(http=429, retry_after=7, delay_ms=1500, hang=True, chunks=2, chunk_ms=10, stamp=True)

    answer = play("hello", faults, started_ms=5)

    assert answer.texts == ("t5 chunk-1 ", "t5 chunk-2 ")
    assert (answer.http, answer.retry_after, answer.delay_seconds) == (429, 7, 1.5)
    assert (answer.hang, answer.pause_seconds) == (True, 0.01)


@pytest.mark.parametrize(
    ("faults", "ending", "chunks"),
    [
        (Faults(fail_after=1), Ending.DROP, 1),
        (Faults(err_after=2), Ending.ERROR, 2),
        (Faults(hang_after=0, fail_after=4), Ending.HANG, 0),
    ],
)
def test_faults_end_answers_early(faults: Faults, ending: Ending, chunks: int) -> None:
    answer = play("hello", faults)

    assert (answer.ending, len(answer.texts)) == (ending, chunks)


def test_the_callers_words_win_over_faults() -> None:
    faults = Faults(http=500, chunks=9, chunk_ms=9, hang_after=0)

    answer = play("slow:3x1 err:after=2 fail:http=404", faults)

    assert (answer.http, len(answer.texts), answer.pause_seconds) == (404, 2, 0.001)
    assert answer.ending is Ending.ERROR


@pytest.mark.parametrize(
    ("begun", "texts"),
    [
        ("", FIVE),
        ("chunk-1 chunk-2 ", FIVE[2:]),
        ("chunk-1 chunk-2 chu", ("nk-3 ", *FIVE[3:])),
        ("t123 chunk-1 ", FIVE[1:]),
        ("".join(FIVE), ()),
        ("Sure, ", FIVE),
    ],
)
def test_an_answer_that_has_begun_goes_on_where_it_stopped(begun: str, texts: tuple[str, ...]) -> None:
    assert play("hello", NO_FAULTS, begun=begun).texts == texts


def test_only_a_trailing_assistant_message_is_an_answer_that_has_begun() -> None:
    user = {"role": "user", "content": "go on"}
    assistant = {"role": "assistant", "content": "chunk-1 "}

    assert begun_answer([user, assistant]) == "chunk-1 "
    assert begun_answer([assistant, user]) == ""


def test_faults_are_read_from_json() -> None:
    assert parse_faults(b'{"http": 503, "delay_ms": 20}') == Faults(http=503, delay_ms=20)
    assert parse_faults(b"{}") == NO_FAULTS


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"htpp": 503}', "htpp"),
        (b'{"http": 200}', "400 to 599, got 200"),
        (b'{"http": "503"}', "Expected `int`"),
        (b'{"delay_ms": -1}', "delay_ms: expected a number from 0"),
        (b'{"chunks": 99999999}', "chunks"),
        (b"[]", "Expected `object`"),
        (b"", "truncated"),
    ],
)
def test_faults_that_nobody_knows_are_refused(raw: bytes, words: str) -> None:
    with pytest.raises(msgspec.DecodeError, match=words):
        parse_faults(raw)


def test_a_text_has_one_small_vector() -> None:
    assert embedding("a") == embedding("a") != embedding("b")
    assert len(embedding("")) == 8
    assert all(-1 <= number <= 1 for number in embedding("a"))
