// The way into an admin view: open, by the admin key, or not at all.
import { ApiError, adminKey, tenant } from "./api.js";
import { el, field, notice } from "./dom.js";

let about = null;

export async function aboutGateway() {
  about ??= await tenant.get("console/api/about");
  return about;
}

/**
 * Runs `show(body)` behind the gate. It is asked for the key where one is needed, and asked again where the one that
 * this tab has kept is refused. Other failures are said in the view's place.
 */
export async function behindTheGate(body, show) {
  try {
    const { admin } = await aboutGateway();
    if (admin === "off") return body.replaceChildren(_off());
    if (admin === "key" && !adminKey.get()) return body.replaceChildren(_gate(body, show, null));
    await show(body);
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) {
      adminKey.set("");
      body.replaceChildren(_gate(body, show, error.message));
    } else {
      body.replaceChildren(notice(error.message, "error"));
    }
  }
}

function _off() {
  return el(
    "div",
    { class: "notice" },
    el("p", {}, "The admin views are off: you come from beyond the gateway's own machine, and it has no admin key."),
    el(
      "p",
      {},
      "Start it with a long random key in the environment variable ",
      el("code", {}, "METAALIGNER_ADMIN_KEY"),
      ", and enter that key here.",
    ),
  );
}

function _gate(body, show, refused) {
  const key = el("input", {
    id: "admin-key",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
  });
  async function enter(event) {
    event.preventDefault();
    adminKey.set(key.value.trim());
    await behindTheGate(body, show);
  }
  return el(
    "form",
    { class: "gate", onsubmit: enter },
    refused && notice(refused, "error"),
    field(
      "Admin key",
      key,
      "What METAALIGNER_ADMIN_KEY holds where the gateway runs. Kept in this tab until it is closed.",
    ),
    el("div", { class: "actions" }, el("button", { type: "submit", class: "primary" }, "Enter")),
  );
}
