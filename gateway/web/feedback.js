// Which was better? Three buttons, and where there is room for it an objective and a comment.
import { el, field, options } from "./dom.js";

const CHOICES = { draft: "The draft is better", correction: "The correction is better", tie: "About equal" };

/** `send({choice, objective?, comment?})` is awaited; what it throws is shown. */
export function feedbackForm(prefix, send, { objectives = null } = {}) {
  const said = el("p", { role: "status", class: "hint" });
  const objective =
    objectives && el("select", { id: `${prefix}-objective` }, options([["", "all in all"], ...objectives]));
  const comment = objectives && el("input", { id: `${prefix}-comment`, maxlength: 1000, autocomplete: "off" });
  const buttons = Object.entries(CHOICES).map(([choice, text]) =>
    el("button", { type: "button", "data-choice": choice, "aria-pressed": "false", onclick: () => give(choice) }, text),
  );

  async function give(choice) {
    const more = {
      ...(objective?.value && { objective: objective.value }),
      ...(comment?.value.trim() && { comment: comment.value.trim() }),
    };
    for (const button of buttons) button.disabled = true;
    try {
      await send({ choice, ...more });
      for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.choice === choice));
      said.textContent = `Noted: ${CHOICES[choice].toLowerCase()}.`;
    } catch (error) {
      said.textContent = `Not noted: ${error.message}`;
    } finally {
      for (const button of buttons) button.disabled = false;
    }
  }

  return el(
    "div",
    { class: "feedback", role: "group", "aria-label": "Which is better?" },
    objectives && el("div", { class: "pair" }, field("By which objective?", objective), field("Comment", comment)),
    el("div", { class: "actions" }, buttons),
    said,
  );
}
