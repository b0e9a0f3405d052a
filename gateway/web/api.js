// The gateway, asked. Knows addresses, keys and errors; knows nothing of the page.

// This file is served at console/static/: everything else stands two levels above, behind whatever proxy.
const ROOT = new URL("../../", import.meta.url);

/** What the gateway answered in place of what was asked for. */
export class ApiError extends Error {
  constructor(status, { message, code } = {}) {
    super(message ?? `the gateway answered with status ${status}`);
    this.status = status;
    this.code = code ?? null;
  }
}

export const address = (path) => new URL(path, ROOT).href;

/** A key kept for this tab only. */
function keyIn(name) {
  return {
    get: () => sessionStorage.getItem(name) ?? "",
    set: (value) => (value ? sessionStorage.setItem(name, value) : sessionStorage.removeItem(name)),
  };
}

export const tenantKey = keyIn("metaaligner.key");
export const adminKey = keyIn("metaaligner.admin-key");

/** A response whose status is fine. Raises `ApiError`, and what `fetch` raises where nothing answers. */
async function asked(path, { method = "GET", body, headers = {}, signal } = {}) {
  const response = await fetch(address(path), {
    method,
    signal,
    headers: { ...headers, ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  throw new ApiError(response.status, told.error);
}

const asTenant = () => (tenantKey.get() ? { Authorization: `Bearer ${tenantKey.get()}` } : {});
const asAdmin = () => (adminKey.get() ? { "X-Admin-Key": adminKey.get() } : {});

const caller = (who) => ({
  get: async (path, signal) => (await asked(path, { headers: who(), signal })).json(),
  post: async (path, body, signal) => (await asked(path, { method: "POST", body, headers: who(), signal })).json(),
  put: async (path, body) => (await asked(path, { method: "PUT", body, headers: who() })).json(),
  stream: async (path, body, signal) => asked(path, { method: "POST", body, headers: who(), signal }),
});

export const tenant = caller(asTenant);
export const admin = caller(asAdmin);

/** `path` with those of the parameters that say something. */
export function withQuery(path, parameters) {
  const said = Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return said.length ? `${path}?${new URLSearchParams(said)}` : path;
}

/**
 * The JSON of every server-sent event, to `[DONE]`. Raises `ApiError` where the stream ends in an error, or in nothing.
 * After `[DONE]` the body is read to its end: to leave a moment earlier would look to the gateway like being left.
 */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  let finished = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done && finished) return;
      if (done) throw new ApiError(response.status, { message: "the answer broke off" });
      const lines = (pending + value).split("\n");
      pending = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data:")) continue; // the rest keeps the connection alive
        const data = line.slice(5).trim();
        finished ||= data === "[DONE]";
        if (finished) break;
        const event = JSON.parse(data);
        if (event.error) throw new ApiError(response.status, event.error);
        yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // whoever stops listening needs no more of it
  }
}
