"""One call from its start to its end: what was looked at, what was tried, which error is surfaced, and the
trace.

The first error is the one surfaced when all attempts fail (bus-and-breaker §1): later ones often only say
that the caller had to go further away.
"""

from datetime import datetime
from typing import Any

import msgspec

from meshcore.capability import RouteRequest, asked_model
from meshcore.chain import Walk
from meshcore.errors import CallError, Code, ExchangeError
from meshcore.openai_wire import Usage
from meshcore.registry import Entry
from meshcore.routing import Choice, Question, Ranked, nobody
from meshcore.trace import Attempt, Candidate, Reason, RoutingTrace, Why

BREAKER_REASONS = frozenset({Reason.BREAKER_OPEN, Reason.HALF_OPEN_BUSY, Reason.COOLING, Reason.FORCED_OPEN})


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

    def question(self, *, draining: bool) -> Question:
        """Return what to ask of routing for the next attempt."""
        request = self.request
        return Question(
            capability=request.capability,
            version=request.version_req,
            params=self.params,
            local_only=self.local_only,
            stream=request.stream,
            draining=draining,
            path=request.path,
            excluded=self.tried,
        )

    def trying(self, entry: Entry, model: str) -> None:
        """Remember whom the attempt that begins is made with."""
        self.tried.append(entry)
        if self.walk is not None:
            self.walk.trying(entry, model)

    def body(self, entry: Entry, model: str) -> dict[str, Any]:
        """Return the body for an attempt; where an alias led, its place is taken by the model itself."""
        if self.walk is None:
            return self.request.body
        return {**self.request.body, "params": self.walk.params(self.params, entry, model)}

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
        self.attempts.append(attempt)

    def failed(self, attempt: Attempt, error: CallError) -> None:
        """Remember an attempt that failed."""
        self.attempts.append(attempt)
        self._first_error = self._first_error or error

    def surfaced(self, question: Question) -> CallError:
        """Return the error to surface now that nothing more is tried, with everything that was."""
        if self._first_look is None:
            return CallError(Code.TIMEOUT, "the call's deadline passed before anybody was asked")
        if self._first_error is not None:
            return self._explained(self._first_error)
        return self._explained((nobody if self.walk is None else self.walk.nobody)(question, self._refused))

    def broken(self, error: CallError) -> CallError:
        """Return the error of a stream that broke after it was committed, with everything that was tried."""
        return self._explained(error)

    def routed_via(self) -> str:
        """Return who answered, well or not: "local", or the id of the peer."""
        first = self._first_error
        if not self.tried or (first is not None and not self._has_answer()):
            if first is None or isinstance(first, ExchangeError):
                return "local"
            return self.tried[0].via
        return self.tried[-1].via

    def trace(self, *, now: float, error: CallError | None = None) -> RoutingTrace:
        """Return the call's trace, finished at the monotonic moment `now`."""
        last = self.attempts[-1] if self.attempts else None
        return RoutingTrace(
            trace_id=self.request.trace_id,
            capability=self.request.capability,
            started_at=self.started_at,
            caller=self.request.caller,
            alias=self.walk.alias if self.walk is not None else "",
            model_asked=asked_model(self.params),
            model_served=self._served(),
            duration_ms=(now - self.started) * 1000,
            ttft_ms=last.started_ms + last.ttft_ms if last is not None and last.ttft_ms is not None else None,
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
            alias_skips=self.walk.skipped(served=error is None) if self.walk is not None else (),
        )

    def cancelled(self) -> CallError:
        """Return the error that stands in the trace of a call that its caller gave up."""
        return CallError(Code.CANCELLED, "the caller went away")

    def answered(self, model: Any, usage: Usage | None) -> None:
        """Take what the answer says of itself; `model` counts when it is a text."""
        if isinstance(model, str):
            self.model_served = model
        self.count_tokens(usage)

    def count_tokens(self, usage: Usage | None) -> None:
        """Take what the provider says of tokens, if it says anything."""
        if usage is not None:
            self.tokens_in = usage.prompt_tokens
            self.tokens_out = usage.completion_tokens

    def _has_answer(self) -> bool:
        """Return whether the last attempt answered, be it only with the begin of a stream."""
        last = self.attempts[-1] if self.attempts else None
        return last is not None and (last.committed or last.outcome == "ok")

    def _served(self) -> str:
        return self.model_served or (self.attempts[-1].model if self._has_answer() else "")

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
