"""One call from its start to its end: what was looked at, what was tried, which error is surfaced, and the
trace.

The first error is the one surfaced when all attempts fail (bus-and-breaker §1): later ones often only say
that the caller had to go further away.
"""

from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from meshcore.capability import RouteRequest, asked_model
from meshcore.chain import Walk
from meshcore.errors import CallError, Code, ExchangeError
from meshcore.openai_wire import MODEL_MAX_CHARS, Usage
from meshcore.registry import Entry
from meshcore.routing import Choice, Question, Ranked, nobody
from meshcore.splice import Begun, continuation, way_to_continue
from meshcore.trace import Attempt, Candidate, Reason, RoutingTrace, Splice, Why

BREAKER_REASONS = frozenset({Reason.BREAKER_OPEN, Reason.HALF_OPEN_BUSY, Reason.COOLING, Reason.FORCED_OPEN})


class Break(NamedTuple):
    """A stream that broke after it was committed; `begun` is what its client has of the answer."""

    attempt: Attempt
    begun: Begun
    error: CallError


class Journey:
    """The record of a call; `started` and `deadline` are monotonic seconds, `started_at` is aware UTC."""

    def __init__(
        self,
        request: RouteRequest,
        *,
        node_id: str,
        started: float,
        started_at: datetime,
        deadline: float,
        local_only: bool,
        walk: Walk | None = None,
    ) -> None:
        self.request = request
        self.node_id = node_id
        self.params = request.params()
        self.started = started
        self.started_at = started_at
        self.deadline = deadline
        self.local_only = local_only
        self.walk = walk  # along the chain of the alias that was asked for
        self.stays: Entry | None = None  # where its session sits, when that may be tried
        self.tried: list[Entry] = []
        self.attempts: list[Attempt] = []
        self.model_served = ""  # by the answer's own word; else the attempt's
        self.tokens_in: int | None = None
        self.tokens_out: int | None = None
        self._first_look: Choice | None = None
        self._refused: list[Candidate] = []
        self._first_error: CallError | None = None
        self._answer: Attempt | None = None  # the last one that answered, be it only with a stream's begin
        self._ttft_ms: float | None = None  # of the first one that began a stream, after the call's start
        self._break: Break | None = None
        self._splices: list[Splice] = []

    def question(self, *, draining: bool) -> Question:
        """Return what to ask of routing for the next attempt."""
        request = self.request
        return Question(
            capability=request.capability,
            version=request.version_req,
            params=self.params
            if self._break is None
            else {**self.params, "model": self._break.attempt.model},
            local_only=self.local_only,
            stream=request.stream,
            draining=draining,
            path=request.path,
            excluded=self.tried,
            continues=self._break is not None,
        )

    def trying(self, entry: Entry, model: str) -> None:
        """Remember whom the attempt that begins is made with."""
        self.tried.append(entry)
        if self.walk is not None:
            self.walk.trying(entry, model)

    def request_to(self, entry: Entry, model: str) -> RouteRequest:
        """Return what to ask `entry`, which serves `model`: the call itself, or the rest of its answer."""
        if self._break is None:
            return self._asked_of(entry, model)
        params, provider = entry.descriptor.params, entry.descriptor.provider
        how = way_to_continue(params)
        return continuation(self.request, self._break.begun, provider=provider, model=model, how=how)

    def saw(self, choice: Choice) -> None:
        """Remember a look at the candidates: the first ranking, and every refusal once."""
        if self._first_look is None:
            self._first_look = choice
            self._refused.extend(choice.refused)
            return
        for candidate in choice.refused:
            if candidate.reason is not Reason.EXCLUDED:
                self.refused(candidate)

    def refused(self, candidate: Candidate) -> None:
        """Remember one more refusal, once for each candidate and reason."""
        place = _place(candidate)
        if all(_place(known) != place for known in self._refused):
            self._refused.append(candidate)

    def succeeded(self, attempt: Attempt) -> None:
        """Remember the attempt that answered."""
        self._made(attempt)

    def failed(self, attempt: Attempt, error: CallError) -> None:
        """Remember an attempt that failed."""
        self._made(attempt)
        self._first_error = self._first_error or error

    def broke_off(self, begun: Begun, error: CallError) -> None:
        """Remember that the stream of the last attempt broke: from now on the rest of its answer is asked."""
        self._break = Break(self.attempts[-1], begun, error)

    def goes_on_with(self, entry: Entry, *, now: float) -> None:
        """Remember who goes on with the broken answer, from the monotonic moment `now`."""
        if self._break is None:
            return
        attempt, begun, error = self._break
        splice = Splice(
            at_ms=(now - self.started) * 1000,
            after_chunks=begun.chunks,
            from_node=attempt.node,
            from_provider=attempt.provider,
            to_node=entry.node_id,
            to_provider=entry.descriptor.provider,
            reason=str(error.code),
        )
        self._splices.append(splice)

    def surfaced(self, question: Question) -> CallError:
        """Return the error to surface now that nothing more is tried, with everything that was."""
        if self._break is not None:
            return self.broken(self._break.error, "no other provider can")
        if self._first_look is None:
            return CallError(Code.TIMEOUT, "the call's deadline passed before anybody was asked")
        if self._first_error is not None:
            return self._explained(self._first_error)
        return self._explained((nobody if self.walk is None else self.walk.nobody)(question, self._refused))

    def broken(self, error: CallError, why_not_continued: str = "") -> CallError:
        """Return the error of a stream that broke after it was committed, with everything that was tried."""
        explained = self._explained(error)
        if why_not_continued:
            explained.message += f"; the answer can't be continued: {why_not_continued}"
        return explained

    def routed_via(self) -> str:
        """Return who answered, well or not: "local", or the id of the peer."""
        if self._answer is not None:
            return self.tried[self._answer.n - 1].via
        first = self._first_error
        if not self.tried or isinstance(first, ExchangeError):
            return "local"
        return self.tried[0 if first is not None else -1].via

    def trace(self, *, now: float, error: CallError | None = None) -> RoutingTrace:
        """Return the call's trace, finished at the monotonic moment `now`."""
        last = self._answer or (self.attempts[-1] if self.attempts else None)
        return RoutingTrace(
            trace_id=self.request.trace_id,
            capability=self.request.capability,
            started_at=self.started_at,
            caller=self.request.caller,
            alias=self.walk.alias if self.walk is not None else "",
            model_asked=asked_model(self.params),
            model_served=self._served(),
            duration_ms=(now - self.started) * 1000,
            ttft_ms=self._ttft_ms,
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
            stream=self.request.stream,
            inbound=self.local_only,
            outcome="ok" if error is None else "error",
            code="" if error is None else str(error.code),
            message="" if error is None else error.message,
            routed_via=self.routed_via(),
            provider=last.provider if last is not None else "",
            why=self._why(),
            candidates=self._candidates(),
            attempts=tuple(self.attempts),
            splices=tuple(self._splices),
            alias_skips=self.walk.skipped(served=error is None) if self.walk is not None else (),
        )

    def cancelled(self) -> CallError:
        """Return the error that stands in the trace of a call that its caller gave up."""
        return CallError(Code.CANCELLED, "the caller went away")

    def answered(self, model: Any, usage: Usage | None) -> None:
        """Take what the answer says of itself; `model` counts when it is a name."""
        if isinstance(model, str) and len(model) <= MODEL_MAX_CHARS:
            self.model_served = model
        self.count_tokens(usage)

    def count_tokens(self, usage: Usage | None) -> None:
        """Take what the provider says of tokens, if it says anything."""
        if usage is not None:
            self.tokens_in = usage.prompt_tokens
            self.tokens_out = usage.completion_tokens

    def _made(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)
        if attempt.committed or attempt.outcome == "ok":
            self._answer = attempt
        if self._ttft_ms is None and attempt.ttft_ms is not None:
            self._ttft_ms = attempt.started_ms + attempt.ttft_ms

    def _served(self) -> str:
        return self.model_served or (self._answer.model if self._answer is not None else "")

    def _asked_of(self, entry: Entry, model: str) -> RouteRequest:
        """Return the call itself; where an alias led, the model has taken its place."""
        if self.walk is None:
            return self.request
        params = self.walk.params(self.params, entry, model)
        return msgspec.structs.replace(self.request, body={**self.request.body, "params": params})

    def _explained(self, error: CallError) -> CallError:
        return CallError(
            error.code,
            error.message,
            retry_after_seconds=error.retry_after_seconds,
            attempts=[msgspec.to_builtins(attempt) for attempt in self.attempts],
            refused=[msgspec.to_builtins(candidate) for candidate in self._refused],
        )

    def _why(self) -> Why:
        if len(self.tried) > 1:
            return Why.FAILOVER
        if self.tried and self.tried[0] is self.stays:
            return Why.STICKY
        if self.tried and self.walk is not None:
            return Why.ALIAS
        if self.tried and not self.tried[0].is_local:
            own_reasons = {candidate.reason for candidate in self._refused if candidate.node == self.node_id}
            if Reason.DRAINING in own_reasons:
                return Why.DRAIN
            if own_reasons & BREAKER_REASONS:
                return Why.BREAKER
        ranking = self._ranking()
        return Why.LOCAL if ranking and ranking[0].group == 0 else Why.SCORE

    def _ranking(self) -> list[Ranked]:
        return self._first_look.ordered if self._first_look is not None else []

    def _candidates(self) -> tuple[Candidate, ...]:
        ranked = [
            Candidate(
                node=r.entry.node_id,
                provider=r.entry.descriptor.provider,
                model=r.model if self.walk is not None else "",
                rank=n,
                score=r.score,
            )
            for n, r in enumerate(self._ranking(), 1)
        ]
        return (*ranked, *self._refused)


def _place(candidate: Candidate) -> tuple[str, str, str, Reason | None]:
    return candidate.node, candidate.provider, candidate.model, candidate.reason
