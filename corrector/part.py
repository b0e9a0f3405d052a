"""One stretch of a draft on its way through a corrector, and what becomes of it. Knows no engine and no prompt."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from corrector import gate, protect, segments
from corrector.correction import Correction, Verdict, first_resumed, verdict_of_parts
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
    other_script: bool = False  # it may be in other letters than the draft
    instructions: tuple[str, ...] = ()  # what the objectives say: words that are never an answer's
    written: str = ""
    restored_chars: int = 0  # of what is written, how many could have their spans restored
    sent: str = ""
    verdict: Verdict = "corrected"
    reason: str = "rewritten"
    # The fault of a correction toward all objectives ("": it changed nothing), of which this has those required only.
    instead_of: str | None = None
    refused: bool = False  # by what is required: nothing may follow
    error: str = ""
    resumed_at: int | None = None

    def draft(self, spans: tuple[str, ...]) -> str:
        """The stretch as the policy wrote it."""
        return protect.restore(protect.Masked(self.masked, spans))

    def fail(self, reason: str, error: str) -> None:
        """The engine has failed; `error` says how."""
        self.verdict, self.reason, self.error = "failed", reason, error

    def compare(self, draft: str) -> None:
        """Names what was sent, now that it is whole, by the draft."""
        if self.verdict != "corrected":
            return
        if self.instead_of is not None:
            self.reason += "; only toward what is required"
        if self.sent == draft:
            changed_nothing: tuple[Verdict, str] = ("unchanged", "already_aligned")
            self.verdict, self.reason = ("kept_original", self.instead_of) if self.instead_of else changed_nothing

    def original(self, spans: tuple[str, ...], spans_restored: int, joiner: str) -> str:
        """The draft in place of the correction: all of it, or from where what was sent leaves off, skipping nothing."""
        if not self.sent:
            return self.draft(spans)
        self.resumed_at = len(self.sent)
        start, end = 0, len(self.masked)
        for match in protect.PLACEHOLDER.finditer(self.masked):
            if int(match.group(1)) <= spans_restored:
                start = match.end()
            else:
                end = match.start()
                break
        # What is written beyond a span that could not be restored was never sent.
        since = protect.PLACEHOLDER.split(self.written[: self.restored_chars])[-1]
        come, seamless = segments.resumed(self.masked[start:end], since.replace(joiner, "") if joiner else since)
        rest = protect.restore(protect.Masked(self.masked[start + come :], spans))
        if not rest.strip():
            trail = self.masked[len(self.masked.rstrip()) :]  # what stands between it and the next part
            return "" if self.sent.endswith(trail) else trail
        if seamless:  # the draft itself has what stands between
            return rest.lstrip(" \t") if self.sent[-1:].isspace() else rest
        if segments.at_border(self.masked, start + come):
            return self._apart(start + come, spans)
        return segments.continued(self.sent, rest)

    def _apart(self, place: int, spans: tuple[str, ...]) -> str:
        """What follows in the draft, from a border on, as far from what was sent as it stands from what precedes it.

        A sentence begins a paragraph of its own, as what was sent ends in the midst of another; a table goes on in
        whole rows.
        """
        line = self.masked.rfind("\n", 0, place) + 1
        row = line > 0 and self.masked[line:].lstrip(" \t").startswith("|")
        place = line if row else place
        before, after = self.masked[:place].rstrip(), self.masked[place:].lstrip()
        breaks = self.masked[len(before) : len(self.masked) - len(after)].count("\n")
        apart = 1 if breaks == 1 and before else 2
        last = self.sent[self.sent.rfind("\n") + 1 :].strip()
        half_row = " |" if apart == 1 and last.startswith("|") and not (last.endswith("|") and len(last) > 1) else ""
        indent = self.masked[place : len(self.masked) - len(after)].rpartition("\n")[2] if row or breaks else ""
        there = self.sent[len(self.sent.rstrip("\r\n")) :].count("\n")
        gap = ("\r\n" if "\r\n" in self.masked else "\n") * (apart - there)
        gap = gap.removeprefix("\r") if self.sent.endswith("\r") else gap
        return f"{half_row}{gap}{indent}{protect.restore(protect.Masked(after, spans))}"


def joined(parts: Sequence[Part], usage: Usage, *, dropped_turns: int) -> Correction:
    """The correction that the parts of a draft make together."""
    verdict, reason = verdict_of_parts([(part.verdict, part.reason) for part in parts])
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
        refused=any(part.refused for part in parts),
        error=next((part.error for part in parts if part.error), ""),
    )
