// The audit trail: filters, a page of rows, and what was sent beside what was made in shadow.
import { admin, withQuery } from "./api.js";
import { el, field, notice, options, table } from "./dom.js";
import { showRow } from "./row.js";
import { VERDICTS, counted, duration, formatted, moment, percent, verdictInWords } from "./wording.js";

const MODES = ["full", "segment", "shadow", "off"];

// What was looked for stays while a row is read, and where one comes back to.
let filters = {};

/** The list; or with `id` one row of it. */
export async function showAudit(body, id) {
  if (id) return showRow(body, id);
  const first = await rowsOf(filters);
  const status = el("p", { role: "status", class: "hint", id: "found" });
  const list = el("div", { id: "rows" });
  const compared = el("div");
  const form = _form(first, async () => {
    try {
      draw(await rowsOf(filters));
      await _compare(compared);
    } catch (error) {
      list.replaceChildren(notice(error.message, "error"));
    }
  });

  function draw(page) {
    list.replaceChildren(
      page.rows.length
        ? _table(page.rows)
        : notice("No such answer is recorded. What is, a tenant's audit says: off, metadata or full."),
    );
    const more = page.next !== null && page.next !== undefined;
    status.textContent = page.rows.length
      ? `${counted(page.rows.length, "answer")}${more ? ", and there are older ones" : ""}.`
      : "";
    if (more) list.append(_older(page.next));
  }

  function _older(before) {
    const button = el("button", { type: "button" }, "Older answers");
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const page = await rowsOf({ ...filters, before });
        draw(page);
        list.querySelector("a")?.focus();
      } catch (error) {
        list.append(notice(error.message, "error"));
      }
    });
    return el("div", { class: "actions" }, button);
  }

  draw(first);
  body.replaceChildren(compared, form, status, list);
  await _compare(compared);
}

const rowsOf = (wanted) => admin.get(withQuery("console/api/audit", { ...wanted, limit: 50 }));

function _form({ tenants, policies }, search) {
  const select = (id, any, values) => {
    const node = el("select", { id: `audit-${id}`, name: id }, options([["", any], ...values]));
    node.value = filters[id] ?? "";
    return node;
  };
  const input = (id, type) => el("input", { id: `audit-${id}`, name: id, type, value: _asEntered(filters[id], type) });
  const form = el(
    "form",
    { class: "filters", role: "search", "aria-label": "Audit trail" },
    field("Text or request id", input("q", "search")),
    field("Tenant", select("tenant", "all", tenants)),
    field("Policy", select("policy", "all", policies)),
    field("Verdict", select("verdict", "all", Object.entries(VERDICTS))),
    field("Mode", select("mode", "all", MODES)),
    field("Since", input("since", "datetime-local")),
    field("Until", input("until", "datetime-local")),
    el("div", { class: "actions" }, el("button", { type: "submit" }, "Search")),
  );
  function read() {
    filters = Object.fromEntries(new FormData(form));
    for (const name of ["since", "until"]) if (filters[name]) filters[name] = new Date(filters[name]).toISOString();
    search();
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    read();
  });
  form.addEventListener("change", (event) => event.target.tagName === "SELECT" && read());
  return form;
}

/** A time of the filters as its control wants it: in the reader's own zone, without one being named. */
function _asEntered(value, type) {
  if (!value || type !== "datetime-local") return value ?? "";
  const date = new Date(value);
  return new Date(date - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

function _table(rows) {
  const cells = rows.map((row) => [
    el("a", { href: `#audit/${row.id}` }, moment(row.time)),
    row.tenant,
    row.policy,
    row.mode,
    row.error
      ? `${row.status} ${row.error}`
      : el("span", { class: "mark", "data-verdict": row.verdict }, verdictInWords(row.verdict)),
    percent(row.changed),
    duration(row.total_ms),
    _votes(row.feedback),
  ]);
  return table(
    "Answers, the newest first",
    ["Time", "Tenant", "Policy", "Mode", "Verdict", "Changed", "Took", "Feedback"],
    cells,
    { cards: true },
  );
}

function _votes(feedback) {
  const said = [
    ["correction", "for the correction"],
    ["draft", "for the draft"],
    ["tie", "equal"],
  ].filter(([name]) => feedback?.[name]);
  return said.map(([name, text]) => `${feedback[name]} ${text}`).join(", ") || "–";
}

/** What is sent against what would have been, where anything was made in shadow. */
async function _compare(place) {
  const { arms } = await admin.get(withQuery("console/api/audit/compare", { tenant: filters.tenant }));
  if (!arms.some((arm) => arm.mode === "shadow" && arm.answers)) return place.replaceChildren();
  const rows = arms.map((arm) => [
    arm.mode === "shadow" ? "shadow: made, not sent" : `${arm.mode}: sent`,
    formatted(arm.answers),
    Object.entries(arm.verdicts)
      .map(([name, count]) => `${verdictInWords(name)} ${formatted(count)}`)
      .join(", ") || "–",
    percent(arm.changed),
    duration(arm.corrector_ms),
    _votes(arm.feedback),
  ]);
  place.replaceChildren(
    el(
      "section",
      { class: "panel", id: "arms" },
      table(
        "Shadow against sent",
        ["Mode", "Answers", "Verdicts", "Changed, on average", "Corrector, on average", "Feedback"],
        rows,
        { cards: true },
      ),
    ),
  );
}
