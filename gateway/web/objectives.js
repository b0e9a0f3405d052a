// What is in force, by tenant; and the way to a change of it: tried, shown, then saved.
import { admin } from "./api.js";
import { createEditor } from "./editor.js";
import { el, notice, table } from "./dom.js";
import { counted, formatted } from "./wording.js";

export async function showObjectives(body) {
  const inForce = await admin.get("console/api/objectives");
  const place = el("div", { id: "editor" });
  // A save changes what is in force: the view is drawn anew, and says what was done.
  async function saved(told) {
    await showObjectives(body);
    body.prepend(told);
    told.focus();
  }
  function edit(objective) {
    place.replaceChildren(createEditor(inForce, objective, { saved, close: () => place.replaceChildren() }));
    place.querySelector(objective ? "#edit-description" : "#edit-key").focus();
  }
  body.replaceChildren(
    _file(inForce),
    el("div", { class: "actions" }, el("button", { type: "button", onclick: () => edit(null) }, "New objective")),
    place,
    _objectives(inForce, edit),
    _sets(inForce.sets),
    _tenants(inForce.tenants),
  );
}

function _file({ path, writable, why_not }) {
  const where = el("p", {}, "In force is ", el("code", {}, path), ".");
  if (writable) return where;
  const why = why_not ?? "the file cannot be written";
  return el("div", {}, where, notice(`Read-only: ${why}. A change can be tried here, but not saved.`));
}

function _objectives({ objectives }, edit) {
  const rows = objectives.map((one) => [
    el("code", {}, one.key),
    one.description,
    el("button", { type: "button", class: "quiet", "aria-label": `Edit ${one.key}`, onclick: () => edit(one) }, "Edit"),
  ]);
  return table("Objectives", ["Key", "What the corrector reads", "Change"], rows, { cards: true });
}

function _sets(sets) {
  const rows = Object.entries(sets).map(([name, keys]) => [el("code", {}, name), keys.join(", ")]);
  return rows.length ? table("Sets", ["Set", "Objectives"], rows) : notice("There are no sets.", "hint");
}

function _tenants(tenants) {
  const rows = tenants.map((one) => [
    el("code", {}, one.name),
    one.keys === "none" ? "none needed" : counted(one.keys, "key"),
    one.objectives.join(", ") || "none",
    one.required.join(", ") || "none",
    one.mode,
    one.roll_out >= 100 ? "all" : `${formatted(one.roll_out, 2)}%`,
    one.audit,
  ]);
  return table("Tenants", ["Tenant", "Keys", "Objectives", "Required", "Mode", "Corrected", "Audit"], rows, {
    cards: true,
  });
}
