// Two sets of objectives against each other on one draft: the second is corrected anew, the policy is not asked again.
import { tenant } from "./api.js";
import { diffBlock, summary } from "./diff.js";
import { el } from "./dom.js";
import { createPicker } from "./picker.js";
import { explained, verdictInWords } from "./wording.js";

/** `shown`: `{model, messages, draft, text, align}` of the answer that stands on the page. */
export function createComparison(catalogue, shown) {
  const picker = createPicker("other", "The other objectives", catalogue);
  const error = el("p", { class: "error", role: "alert", hidden: true });
  const status = el("p", { class: "progress", role: "status" });
  const result = el("div", { class: "panes two", id: "comparison" });
  const button = el("button", { type: "submit" }, "Compare on this draft");

  async function compare(event) {
    event.preventDefault();
    error.hidden = true;
    result.replaceChildren();
    let wish;
    try {
      wish = picker.wish();
    } catch (missing) {
      return tell(missing);
    }
    button.disabled = true;
    status.textContent = "Correcting the same draft toward the other objectives…";
    try {
      const other = await tenant.post("v1/align", {
        model: shown.model,
        messages: shown.messages,
        draft: shown.draft,
        align: wish,
      });
      result.replaceChildren(
        ...(await Promise.all([
          _side("First", shown.draft, shown.text, shown.align),
          _side("Second", shown.draft, other.text, other.align ?? other),
        ])),
      );
      status.textContent = shown.text === other.text ? "Both come out the same." : "They come out differently.";
    } catch (failure) {
      status.textContent = "";
      tell(failure);
    } finally {
      button.disabled = false;
    }
  }

  function tell(problem) {
    error.textContent = problem.message;
    error.hidden = false;
  }

  const form = el(
    "form",
    { onsubmit: compare, "aria-label": "Other objectives" },
    picker.element,
    error,
    el("div", { class: "actions" }, button),
  );
  return el(
    "details",
    { id: "compare" },
    el("summary", {}, "Compare with other objectives on this draft"),
    form,
    status,
    result,
  );
}

async function _side(name, draft, text, align) {
  const { diff, changed } = await tenant.post("console/api/diff", { before: draft, after: text });
  return el(
    "section",
    { class: "pane", "aria-label": `${name} objectives` },
    el("h3", {}, name, el("small", {}, ` ${align.objectives.join(", ")}`)),
    el(
      "p",
      { class: "verdict", "data-verdict": align.verdict },
      el("b", {}, verdictInWords(align.verdict)),
      ` ${explained(align.verdict, align.reason)}`,
    ),
    el("p", { class: "hint" }, summary(diff, changed)),
    diffBlock(diff),
  );
}
