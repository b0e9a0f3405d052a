// A word diff as nodes: `ins` and `del` elements, so that it is one to a screen reader as well.
import { el } from "./dom.js";
import { percent } from "./wording.js";

const MARKS = { "+": "ins", "-": "del" };

/** The parts of a diff, `["=" | "-" | "+", text]`, as nodes. */
export function diffNodes(parts) {
  return parts.map(([mark, text]) => (MARKS[mark] ? el(MARKS[mark], {}, text) : document.createTextNode(text)));
}

export function diffBlock(parts) {
  return el("div", { class: "text diff" }, diffNodes(parts));
}

/** What a diff comes to, in words: for a heading, and for who does not see colours. */
export function summary(parts, changed) {
  const count = (mark) => parts.filter(([one]) => one === mark).length;
  if (!count("+") && !count("-")) return "no difference";
  return `${percent(changed)} of the words changed`;
}

/** A unified diff of a file, line by line. */
export function fileDiff(text) {
  const lines = text.split("\n").map((line) => {
    const kind =
      line.startsWith("+++") || line.startsWith("---") || line.startsWith("@@")
        ? "b"
        : { "+": "ins", "-": "del" }[line[0]];
    return kind ? el(kind, {}, `${line}\n`) : document.createTextNode(`${line}\n`);
  });
  return el(
    "pre",
    { class: "file-diff", tabindex: "0", role: "region", "aria-label": "The change to the file" },
    lines,
  );
}
