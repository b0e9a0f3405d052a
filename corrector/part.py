"""One stretch of a draft on its way through a corrector, and what becomes of it. Knows no engine and no prompt."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from corrector import gate, protect, segments
from corrector.correction import Correction, Verdict, first_resumed, summed
from corrector.gate import GateOptions
from corrector.generation import Usage


class Unfit(Exception):
    """The gate has refused a correction of which nothing is sent, toward more than what is required."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Faulty(Exception):
    """The gate has refused a correction."""

    def __init__(self, reason: gate.Fault) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class Part:
    """One stretch of a masked draft on its way through. `sent` is what has left already."""

    masked: str
    first_span: int
    last_span: int
    options: GateOptions
    slack: int = gate.SLACK_CHARS
    may_refuse: bool = False
    instructions: tuple[str, ...] = ()  # how the objectives begin: words that are never an answer's
    written: str = ""
    restored: int = 0  # how much of what is written could have its spans restored, in characters
    sent: str = ""
    verdict: Verdict = "corrected"
    reason: str = "rewritten"
    instead_of: str = ""  # the fault of a correction toward all objectives, of which this one has those required only
    resumed_at: int | None = None

    def draft(self, spans: tuple[str, ...]) -> str:
        """The stretch as the policy wrote it."""
        return protect.restore(protect.Masked(self.masked, spans))

    def compare(self, draft: str) -> None:
        """Names what was sent, now that it is whole, by the draft."""
        if self.verdict != "corrected":
            return
        if self.instead_of:
            self.reason += "; only toward what is required"
        if self.sent == draft:
            changed_nothing: tuple[Verdict, str] = ("unchanged", "already_aligned")
            self.verdict, self.reason = ("kept_original", self.instead_of) if self.instead_of else changed_nothing

    def original(self, spans: tuple[str, ...], restored: int, joiner: str) -> str:
        """The draft in place of the correction: all of it, or from where what was sent leaves off, skipping nothing."""
        if not self.sent:
            return self.draft(spans)
        self.resumed_at = len(self.sent)
        start, end = 0, len(self.masked)
        for match in protect.PLACEHOLDER.finditer(self.masked):
            if int(match.group(1)) <= restored:
                start = match.end()
            else:
                end = match.start()
                break
        # What is written beyond a span that could not be restored was never sent.
        since = protect.PLACEHOLDER.split(self.written[: self.restored])[-1]
        come, seamless = segments.resumed(self.masked[start:end], since.replace(joiner, "") if joiner else since)
        rest = protect.restore(protect.Masked(self.masked[start + come :], spans))
        if not rest.strip():
            trail = self.masked[len(self.masked.rstrip()) :]  # what stands between it and the next part
            return "" if self.sent.endswith(trail) else trail
        if seamless:  # the draft itself has what stands between
            return rest.lstrip(" \t") if self.sent[-1:].isspace() else rest
        if segments.at_border(self.masked, start + come):
            return "\n\n" + rest.lstrip("\n")
        return segments.continued(self.sent, rest)


def joined(parts: Sequence[Part], usage: Usage, *, dropped_turns: int) -> Correction:
    """The correction that the parts of a draft make together."""
    verdict, reason = summed([(part.verdict, part.reason) for part in parts])
    return Correction(
        text="".join(part.sent for part in parts),
        verdict=verdict,
        reason=reason,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        parts=len(parts),
        dropped_turns=dropped_turns,
        resumed_at=first_resumed((part.sent, part.resumed_at) for part in parts),
        queue_s=usage.queue_s,
        first_token_s=usage.first_token_s,
        total_s=time.monotonic() - usage.started,
        started=usage.started,
        gate_s=usage.gate_s,
    )
