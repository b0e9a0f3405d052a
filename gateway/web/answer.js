// One answer as it comes: draft and correction side by side, then what differs, and where the time went.
import { tenant } from "./api.js";
import { diffBlock, summary } from "./diff.js";
import { el, facts } from "./dom.js";
import { feedbackForm } from "./feedback.js";
import { waterfall } from "./waterfall.js";
import { counted, formatted } from "./wording.js";

/** An empty answer on the page. `showDraft`: whether the tenant may see drafts at all. */
export function createAnswer({ showDraft }) {
  const draft = _pane("draft", "Draft", "by the policy");
  const correction = _pane("correction", "Correction", "what a client gets");
  const after = el("div", { class: "after" });
  const element = el(
    "div",
    {},
    el("div", { class: showDraft ? "panes two" : "panes" }, showDraft && draft.element, correction.element),
    after,
  );
  correction.busy(true);

  return {
    element,
    draft: (piece) => draft.add(piece),
    text: (piece) => correction.add(piece),
    broken: () => correction.busy(false),

    /** What stands below the texts, once the answer is whole. */
    async finish({ align, requestId, usage, canRate }) {
      correction.busy(false);
      const text = correction.text();
      // Where nothing is corrected, what was sent is the draft.
      const drafted = align.draft ?? (align.verdict === "skipped" ? text : null);
      const known = showDraft && drafted !== null;
      if (known) draft.set(drafted);
      const differs = known && drafted !== text;
      if (known) after.append(await _difference(drafted, text));
      if (differs && canRate) after.append(_rating(requestId));
      if (align.timings_ms) after.append(waterfall(align.timings_ms, align.mode));
      after.append(_facts(align, requestId, usage));
    },
  };
}

function _pane(name, title, note) {
  const words = document.createTextNode("");
  const text = el("div", { class: "text", id: `${name}-text` }, words);
  // While it is busy nothing is read out; then all of it, once. The draft is not read out: it is not the answer.
  if (name === "correction") text.setAttribute("aria-live", "polite");
  const element = el(
    "section",
    { class: "pane", "aria-labelledby": `${name}-title` },
    el("h2", { id: `${name}-title` }, title, el("small", {}, ` ${note}`)),
    text,
  );
  return {
    element,
    add: (piece) => words.appendData(piece),
    set: (whole) => (words.data = whole),
    text: () => words.data,
    busy: (busy) => text.setAttribute("aria-busy", String(busy)),
  };
}

async function _difference(before, after) {
  const { diff, changed } = await tenant.post("console/api/diff", { before, after });
  const told = summary(diff, changed);
  const title = el("h2", { id: "difference-title" }, "Difference", el("small", { id: "changed" }, ` ${told}`));
  return el(
    "section",
    { class: "pane", id: "difference", "aria-labelledby": "difference-title" },
    title,
    before === after ? null : diffBlock(diff),
  );
}

function _rating(requestId) {
  const send = (given) => tenant.post("v1/feedback", { request_id: requestId, ...given });
  return el(
    "section",
    { id: "rating", "aria-labelledby": "rating-title" },
    el("h2", { id: "rating-title" }, "Which is better?"),
    feedbackForm("rating", send),
  );
}

function _facts(align, requestId, usage) {
  const told = [
    ["Objectives", (align.objectives ?? []).join(", ") || "none"],
    ["Policy", align.policy],
    ["Corrector", align.corrector],
    ["Mode", align.mode],
    ["Tokens", _tokens(align, usage)],
    ["Request", requestId],
  ];
  if (align.parts > 1) told.push(["Parts", `corrected in ${align.parts} parts`]);
  if (align.dropped_turns) told.push(["Context", `${counted(align.dropped_turns, "turn")} too much for the corrector`]);
  if (typeof align.resumed_at === "number")
    told.push(["Draft resumed", `from character ${formatted(align.resumed_at)} on`]);
  return facts(told);
}

function _tokens(align, usage) {
  const told = [];
  if (usage) told.push(`policy read ${formatted(usage.prompt_tokens)}, wrote ${formatted(usage.completion_tokens)}`);
  if (align.usage)
    told.push(
      `corrector read ${formatted(align.usage.prompt_tokens)}, wrote ${formatted(align.usage.completion_tokens)}`,
    );
  return told.join("; ");
}
