// Elements and text nodes, and nothing else: what a model or a user wrote never becomes markup.

/** An element. Attributes that are null or false are left out; functions are listeners, by `onclick` and its kin. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name.replace(/^on/, ""), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

export const byId = (id) => document.getElementById(id);

/** A label above its control, whatever that is. */
export function field(label, control, hint = null) {
  return el(
    "div",
    { class: "field" },
    el("label", { for: control.id }, label),
    control,
    hint && el("p", { class: "hint" }, hint),
  );
}

/** Options of a select: texts, or pairs of value and text. */
export function options(values) {
  return values.map((one) => {
    const [value, text] = Array.isArray(one) ? one : [one, one];
    return el("option", { value }, text);
  });
}

/**
 * A table with its roles said: on a phone its rows are laid out as cards, and a browser forgets what a table is
 * as soon as its display is another.
 */
export function table(caption, heads, rows, { cards = false } = {}) {
  return el(
    "table",
    { role: "table", class: cards ? "cards" : null },
    el("caption", {}, caption),
    el(
      "thead",
      { role: "rowgroup" },
      el(
        "tr",
        { role: "row" },
        heads.map((head) => el("th", { scope: "col", role: "columnheader" }, head)),
      ),
    ),
    el(
      "tbody",
      { role: "rowgroup" },
      rows.map((cells) =>
        el(
          "tr",
          { role: "row" },
          cells.map((cell, index) => _cell(cell, index, heads[index])),
        ),
      ),
    ),
  );
}

function _cell(cell, index, head) {
  const attributes = { "data-head": head };
  if (index === 0) return el("th", { scope: "row", role: "rowheader", ...attributes }, cell);
  return el("td", { role: "cell", ...attributes }, cell);
}

/** Names and what they are, `[name, value]`; those that say nothing are left out. */
export function facts(pairs) {
  const said = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el(
    "dl",
    { class: "facts" },
    said.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value)))),
  );
}

/** Something to tell in place of what was asked for. */
export function notice(text, kind = "notice") {
  return el("p", { class: kind, role: kind === "error" ? "alert" : null }, text);
}

/** Into view, on a screen on which it would stand below the fold. */
export function reveal(node) {
  if (node.getBoundingClientRect().top < innerHeight / 2) return;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  node.scrollIntoView({ behavior: still ? "auto" : "smooth", block: "start" });
}
