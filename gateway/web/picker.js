// Objectives chosen: a set, ticks, and sentences written on the spot. The playground has one, its comparison another.
import { el, field, options } from "./dom.js";
import { wishOf } from "./request.js";

const MAX_WRITTEN = 8; // the gateway's own limit for a request
const OWN = "";
const CHOSEN = "=";

/** The fieldset, and `wish()`: what of `align` it stands for. `prefix` keeps the ids of two pickers apart. */
export function createPicker(prefix, legend, catalogue) {
  const boxes = new Map(catalogue.data.map((one) => [one.id, _box(prefix, one)]));
  const sets = el("select", { id: `${prefix}-set` }, options(_sets(catalogue)));
  const reads = el("ul", { class: "reads" });
  const rows = el("div", { class: "written" });
  const add = el("button", { type: "button", class: "quiet", onclick: () => write() }, "Write an objective");
  let count = 0;

  function ticked() {
    return [...boxes].filter(([, box]) => box.checked).map(([id]) => id);
  }

  function written() {
    return [...rows.children].map((row) => {
      const [name, description] = row.querySelectorAll("input");
      return { name: name.value.trim(), description: description.value.trim() };
    });
  }

  function tell() {
    const chosen = catalogue.data.filter((one) => boxes.get(one.id).checked);
    reads.replaceChildren(...chosen.map((one) => el("li", {}, el("b", {}, one.name), ` ${one.description}`)));
  }

  function choose() {
    const ids = sets.value === OWN ? null : catalogue.sets[sets.value];
    for (const one of catalogue.data) {
      boxes.get(one.id).checked = one.required || (ids ? ids.includes(one.id) : one.default);
    }
    tell();
  }

  function write() {
    const id = `${prefix}-written-${(count += 1)}`;
    const name = el("input", {
      id: `${id}-name`,
      maxlength: 64,
      spellcheck: "false",
      autocomplete: "off",
      placeholder: "plain_words",
    });
    const description = el("input", {
      id: `${id}-description`,
      maxlength: 500,
      autocomplete: "off",
      placeholder: "The response should use short sentences and everyday words",
    });
    const remove = el("button", { type: "button", class: "quiet" }, "Remove");
    const row = el(
      "div",
      { class: "written-row" },
      field("Its name", name),
      field("What it means, in a sentence", description),
      remove,
    );
    remove.addEventListener("click", () => {
      row.remove();
      add.disabled = false;
      add.focus();
    });
    rows.append(row);
    add.disabled = rows.children.length >= MAX_WRITTEN;
    name.focus();
  }

  sets.addEventListener("change", () => sets.value !== CHOSEN && choose());
  const ticks = [...boxes].map(([id, box]) => _tick(id, box, catalogue));
  const chips = el("div", { class: "chips", onchange: () => ((sets.value = CHOSEN), tell()) }, ticks);
  choose();
  const element = el(
    "fieldset",
    { class: "picker" },
    el("legend", {}, legend),
    field("Set", sets),
    chips,
    reads,
    catalogue.may.define && rows,
    catalogue.may.define && add,
  );
  return {
    element,
    wish: () => wishOf(catalogue, ticked(), written()),
    set(name) {
      sets.value = name;
      choose();
    },
  };
}

function _sets(catalogue) {
  const named = Object.keys(catalogue.sets).map((name) => [name, `the set ${name}`]);
  return [[OWN, "the tenant's own"], ...named, [CHOSEN, "as ticked below"]];
}

function _box(prefix, one) {
  const box = el("input", { type: "checkbox", id: `${prefix}-${one.id}`, disabled: one.required });
  return box;
}

function _tick(id, box, catalogue) {
  const one = catalogue.data.find((other) => other.id === id);
  return el(
    "label",
    { class: "chip", for: box.id, title: one.description },
    box,
    one.name,
    one.required && el("small", {}, " required"),
  );
}
