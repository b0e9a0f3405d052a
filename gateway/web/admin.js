// The way into an admin view: by the admin key, or not at all.
import { ApiError, adminKey, tenant } from "./api.js";
import { el, field, notice } from "./dom.js";

const LINK = "#key=";
let about = null;

/** The link that the gateway prints at its start has its key behind the #; it is kept, and not left in the address. */
export function takeKey() {
  if (!location.hash.startsWith(LINK)) return;
  adminKey.set(decodeURIComponent(location.hash.slice(LINK.length)));
  history.replaceState(null, "", location.pathname);
}

export async function aboutGateway() {
  about ??= await tenant.get("console/api/about");
  return about;
}

/**
 * Runs `show(body)` behind the gate. It is asked for the key where one is needed, and asked again where the one that
 * this tab has kept is refused. Other failures are said in the view's place.
 */
export async function behindTheGate(body, show) {
  const used = adminKey.get();
  try {
    const { admin } = await aboutGateway();
    if (admin === "off") return body.replaceChildren(_off());
    if (admin === "key" && !adminKey.get()) return body.replaceChildren(_gate(body, show, null));
    await show(body);
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) {
      if (adminKey.get() === used) adminKey.set(""); // another may have been entered meanwhile
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
    el("p", {}, "The admin views are off: the gateway can be reached from elsewhere, and has no admin key."),
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
      "In the link that the gateway printed at its start, or what METAALIGNER_ADMIN_KEY holds there. " +
        "Kept in this tab until it is closed.",
    ),
    el("div", { class: "actions" }, el("button", { type: "submit", class: "primary" }, "Enter")),
  );
}
