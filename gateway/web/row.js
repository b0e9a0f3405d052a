// One answer of the trail, opened: its figures, its conversation, what was changed, and what people think of it.
import { admin } from "./api.js";
import { diffBlock, summary } from "./diff.js";
import { el, facts, notice } from "./dom.js";
import { feedbackForm } from "./feedback.js";
import { waterfall } from "./waterfall.js";
import { explained, formatted, moment, verdictInWords } from "./wording.js";

export async function showRow(body, id) {
  const row = await admin.get(`console/api/audit/${encodeURIComponent(id)}`);
  const given = el("div", {}, _given(row.feedback));
  const send = async (choice) => {
    const { feedback } = await admin.post(`console/api/audit/${encodeURIComponent(id)}/feedback`, choice);
    given.replaceChildren(_given(feedback));
  };
  const title = el("h2", { tabindex: "-1" }, `Answer of ${moment(row.time)}`);
  body.replaceChildren(
    el("p", {}, el("a", { href: "#audit" }, "Back to the list")),
    title,
    el(
      "p",
      { class: "verdict", "data-verdict": row.verdict },
      el("b", {}, verdictInWords(row.verdict)),
      ` ${explained(row.verdict, row.reason)}`,
    ),
    _facts(row),
    ...(row.total_ms ? [waterfall(_timings(row), row.mode)] : []),
    ..._texts(row),
    el(
      "section",
      { class: "panel", "aria-labelledby": "row-feedback" },
      el("h3", { id: "row-feedback" }, "Feedback"),
      given,
      feedbackForm("row", send, { objectives: row.objectives }),
    ),
  );
  title.focus();
}

function _timings(row) {
  return {
    policy_first: row.policy_ttft_ms,
    policy: row.policy_ms,
    corrector_queue: row.corrector_queue_ms,
    corrector_first_token: row.corrector_ttft_ms,
    corrector: row.corrector_ms,
    total: row.total_ms,
  };
}

function _facts(row) {
  const served =
    row.served_by === "-" || row.served_by === row.policy ? row.policy : `${row.policy}, served by ${row.served_by}`;
  const told = [
    ["Request", row.request_id],
    ["Tenant", row.tenant],
    ["Policy", served],
    ["Corrector", row.corrector],
    ["Mode", row.mode],
    ["Status", row.error ? `${row.status} ${row.error}` : row.status],
    ["Objectives", row.objectives.join(", ") || "none"],
    ["Tokens", `policy ${_count(row.policy_tokens)}, corrector ${_count(row.corrector_tokens)}`],
    ["Configuration", row.configuration],
  ];
  return facts(told);
}

const _count = (tokens) => (tokens === null || tokens === undefined ? "–" : formatted(tokens));

function _texts(row) {
  if (!row.context && !row.choices?.length)
    return [notice("The texts were not kept: the audit of this tenant is not full.")];
  const turns = (row.context ?? []).map((turn) =>
    el("li", {}, el("b", {}, turn.role), el("div", { class: "text" }, turn.text)),
  );
  const conversation = turns.length ? [el("h3", {}, "Conversation"), el("ol", { class: "conversation" }, turns)] : [];
  return [...conversation, ...(row.choices ?? []).map((choice) => _choice(choice, row.choices.length))];
}

function _choice(choice, count) {
  const { index, draft, correction, verdict, reason, diff, changed } = choice;
  const pane = (title, text) =>
    el(
      "div",
      { class: "pane" },
      el("h3", {}, title),
      el("div", { class: "text" }, text ?? "Nothing was corrected: this is what was sent."),
    );
  const several = count > 1 && [
    el("h3", {}, `Choice ${index + 1}`),
    el("p", {}, `${verdictInWords(verdict)}. ${explained(verdict, reason)}`),
  ];
  return el(
    "div",
    { class: "choice" },
    several,
    el("div", { class: "panes two" }, pane("Draft", draft), pane("Correction", correction)),
    diff &&
      el(
        "div",
        { class: "pane difference" },
        el("h3", {}, "Difference", el("small", {}, ` ${summary(diff, changed)}`)),
        draft === correction ? null : diffBlock(diff),
      ),
  );
}

function _given(feedback) {
  if (!feedback?.length) return notice("Nobody has said anything yet.", "hint");
  const one = ({ time, choice, objective, comment, by }) =>
    el(
      "li",
      {},
      el("b", {}, { draft: "the draft", correction: "the correction", tie: "equal" }[choice] ?? choice),
      objective && `, by ${objective}`,
      comment && `: ${comment}`,
      el("small", {}, ` ${[by, moment(time)].filter(Boolean).join(", ")}`),
    );
  return el("ul", {}, feedback.map(one));
}
