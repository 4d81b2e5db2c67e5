"""One call from its start to its end: what was looked at, what was tried, which error is surfaced, and the
trace.

The first error is the one surfaced when all attempts fail (bus-and-breaker §1): later ones often only say
that the caller had to go further away.
"""

from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from meshcore.capability import RouteRequest
from meshcore.chain import Walk
from meshcore.errors import CallError, Code, ExchangeError
from meshcore.openai_wire import MODEL_MAX_CHARS, Usage
from meshcore.registry import Entry
from meshcore.routing import Choice, Question, Ranked, nobody
from meshcore.splice import Begun, continuation, way_to_continue
from meshcore.trace import Attempt, Candidate, Reason, RoutingTrace, Splice, Why

_LOCAL, _SCORE = Why.LOCAL, Why.SCORE  # looked up once, which in Python 3.11 is slow
BREAKER_REASONS = frozenset({Reason.BREAKER_OPEN, Reason.HALF_OPEN_BUSY, Reason.COOLING, Reason.FORCED_OPEN})


class Break(NamedTuple):
    """A stream that broke after it was committed; `begun` is what its client has of the answer."""

    attempt: Attempt
    begun: Begun
    error: CallError


class Journey(msgspec.Struct, eq=False):
    """The record of a call, begun with its first eight fields, or nine.

    `started` and `deadline` are monotonic seconds, `started_at` is aware UTC; `params` are the request's,
    `model_asked` is the model that they name.
    """

    request: RouteRequest
    node_id: str
    started: float
    started_at: datetime
    deadline: float
    local_only: bool
    params: dict[str, Any]
    model_asked: str
    walk: Walk | None = None  # along the chain of the alias that was asked for
    stays: Entry | None = None  # where its session sits, when that may be tried
    tried: list[Entry] = []
    attempts: list[Attempt] = []
    model_served: str = ""  # by the answer's own word; else the attempt's
    tokens_in: int | None = None
    tokens_out: int | None = None
    _ranking: list[Ranked] | None = None  # of the first look
    _refused: list[Candidate] = []
    _first_error: CallError | None = None
    _answer: Attempt | None = None  # the last one that answered, be it only with a stream's begin
    _ttft_ms: float | None = None  # of the first one that began a stream, after the call's start
    _break: Break | None = None
    _splices: tuple[Splice, ...] = ()

    def question(self, draining: bool) -> Question:
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
        """Return what to ask `entry`, which serves `model`: the call itself, the model in the place of its
        alias, or the rest of its answer.
        """
        request = self.request
        if self._break is not None:
            provider, how = entry.descriptor.provider, way_to_continue(entry.descriptor.params)
            return continuation(request, self._break.begun, provider=provider, model=model, how=how)
        if self.walk is None:
            return request
        params = self.walk.params(self.params, entry, model)
        return msgspec.structs.replace(request, body={**request.body, "params": params})

    def saw(self, choice: Choice) -> None:
        """Remember a look at the candidates: the first ranking, and every refusal once."""
        if self._ranking is None:
            self._ranking = choice.ordered
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

    def made(self, attempt: Attempt) -> None:
        """Remember an attempt that is over."""
        self.attempts.append(attempt)
        if attempt.committed or attempt.outcome == "ok":
            self._answer = attempt
        if self._ttft_ms is None and attempt.ttft_ms is not None:
            self._ttft_ms = attempt.started_ms + attempt.ttft_ms

    def failed(self, attempt: Attempt, error: CallError) -> None:
        """Remember an attempt that failed."""
        self.made(attempt)
        self._first_error = self._first_error or error

    def broke_off(self, begun: Begun, error: CallError) -> None:
        """Remember that the stream of the last attempt broke: from now on the rest of its answer is asked."""
        self._break = Break(self.attempts[-1], begun, error)

    def resumes(self, begun: Begun, *, model: str, node: str) -> None:
        """Let this call ask for the rest of an answer that `node` began, which isn't there any more."""
        error = CallError(Code.PARTITION, f"{node} began the answer and is gone")
        attempt = Attempt(n=0, node=node, provider="", model=model, outcome="error", code=str(error.code))
        self._break = Break(attempt, begun, error)

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
        self._splices += (splice,)

    def surfaced(self, question: Question) -> CallError:
        """Return the error to surface now that nothing more is tried, with everything that was."""
        if self._break is not None:
            return self.broken(self._break.error, "no other provider can")
        if self._ranking is None:
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

    def trace(self, now: float, error: CallError | None = None) -> RoutingTrace:
        """Return the call's trace, finished at the monotonic moment `now`."""
        request, answer = self.request, self._answer
        last = answer or (self.attempts[-1] if self.attempts else None)
        trace = RoutingTrace(
            trace_id=request.trace_id,
            capability=request.capability,
            started_at=self.started_at,
            caller=request.caller,
            model_asked=self.model_asked,
            model_served=self.model_served or (answer.model if answer is not None else ""),
            duration_ms=(now - self.started) * 1000,
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
            inbound=self.local_only,
            routed_via=self.routed_via(),
            provider=last.provider if last is not None else "",
            why=self._why(),
            candidates=self._candidates(),
            attempts=tuple(self.attempts),
        )  # Python passes up to 15 names on the stack, more in a dictionary, which takes five times as long
        rest = self._seldom(error)
        return msgspec.structs.replace(trace, **rest) if rest else trace

    def cancelled(self) -> CallError:
        """Return the error that stands in the trace of a call that its caller gave up."""
        return CallError(Code.CANCELLED, "the caller went away")

    def answered(self, model: Any, usage: Usage | None) -> None:
        """Take what the answer says of itself; `model` counts when it is a name."""
        if isinstance(model, str) and len(model) <= MODEL_MAX_CHARS:
            self.model_served = model
        if usage is not None:
            self.count_tokens(usage)

    def count_tokens(self, usage: Usage) -> None:
        """Take what the provider says of tokens."""
        self.tokens_in = usage.prompt_tokens
        self.tokens_out = usage.completion_tokens

    def _seldom(self, error: CallError | None) -> dict[str, Any]:
        """Return the fields of a trace that a plain call which went well leaves at their defaults."""
        fields: dict[str, Any] = {}
        if self.request.stream:
            fields["stream"] = True
        if self.request.run_id:
            fields["run_id"] = self.request.run_id
        if self._ttft_ms is not None:
            fields["ttft_ms"] = self._ttft_ms
        if self._splices:
            fields["splices"] = self._splices
        if self.walk is not None:
            fields["alias"] = self.walk.alias
            fields["alias_skips"] = self.walk.skipped(served=error is None)
        if error is not None:
            fields |= {"outcome": "error", "code": str(error.code), "message": error.message}
        return fields

    def _explained(self, error: CallError) -> CallError:
        return CallError(
            error.code,
            error.message,
            retry_after_seconds=error.retry_after_seconds,
            attempts=[msgspec.to_builtins(attempt) for attempt in self.attempts],
            refused=[msgspec.to_builtins(candidate) for candidate in self._refused],
        )

    def _why(self) -> Why:
        tried = self.tried
        if len(tried) > 1:
            return Why.FAILOVER
        if tried:
            if tried[0] is self.stays:
                return Why.STICKY
            if self.walk is not None:
                return Why.ALIAS
            if not tried[0].is_local and (why := self._why_away()) is not None:
                return why
        return _LOCAL if self._ranking and self._ranking[0].group == 0 else _SCORE

    def _why_away(self) -> Why | None:
        """Return what kept the call from this node's own providers, if it was kept."""
        own_reasons = {candidate.reason for candidate in self._refused if candidate.node == self.node_id}
        if Reason.DRAINING in own_reasons:
            return Why.DRAIN
        return Why.BREAKER if own_reasons & BREAKER_REASONS else None

    def _candidates(self) -> tuple[Candidate, ...]:
        found: list[Candidate] = []
        for ranked in self._ranking or ():
            entry = ranked.entry
            found.append(
                Candidate(
                    node=entry.node_id,
                    provider=entry.descriptor.provider,
                    model=ranked.model if self.walk is not None else "",
                    rank=len(found) + 1,
                    score=ranked.score,
                )
            )
        return (*found, *self._refused)


def _place(candidate: Candidate) -> tuple[str, str, str, Reason | None]:
    return candidate.node, candidate.provider, candidate.model, candidate.reason
