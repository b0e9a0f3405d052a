// A request as code that makes it. Pure. A key is an environment variable here, never the key itself.

const KEY = "METAALIGNER_API_KEY";

/** In single quotes, for a POSIX shell. */
const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export function curl(url, body, hasKey) {
  const lines = [`curl -sN ${shell(url)}`, `-H 'Content-Type: application/json'`];
  if (hasKey) lines.push(`-H "Authorization: Bearer $${KEY}"`);
  lines.push(`-d ${shell(JSON.stringify(body, null, 2))}`);
  return lines.join(" \\\n  ") + "\n";
}

/** JSON as a Python literal: strings are the same in both. */
function python(value, indent) {
  const inner = `${indent}    `;
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const isList = Array.isArray(value);
  const entries = isList
    ? value.map((one) => python(one, inner))
    : Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${python(one, inner)}`);
  const [open, close] = isList ? "[]" : "{}";
  return entries.length
    ? `${open}\n${entries.map((one) => `${inner}${one},\n`).join("")}${indent}${close}`
    : open + close;
}

export function pythonSdk(url, body, hasKey) {
  const { align, ...known } = body;
  const lines = Object.entries(known).map(([name, value]) => `    ${name}=${python(value, "    ")},\n`);
  if (align) lines.push(`    extra_body=${python({ align }, "    ")},\n`); // the SDK knows no `align`
  const base = url.replace(/\/chat\/completions$/, "");
  return `${hasKey ? "import os\n\n" : ""}from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(base)}, api_key=${hasKey ? `os.environ["${KEY}"]` : '"none"'})
stream = client.chat.completions.create(
${lines.join("")})
for chunk in stream:
    print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="", flush=True)
`;
}

export function javascript(url, body, hasKey) {
  const key = hasKey ? `, Authorization: \`Bearer \${process.env.${KEY}}\`` : "";
  return `// Node 18 or newer, as a module (.mjs); nothing to install.
const response = await fetch(${JSON.stringify(url)}, {
  method: "POST",
  headers: { "Content-Type": "application/json"${key} },
  body: JSON.stringify(${JSON.stringify(body, null, 2).replaceAll("\n", "\n  ")}),
});
if (!response.ok) throw new Error(await response.text());
let rest = "";
for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
  const lines = (rest + piece).split("\\n");
  rest = lines.pop();
  for (const line of lines.filter((one) => one.startsWith("data: {"))) {
    process.stdout.write(JSON.parse(line.slice(6)).choices?.[0]?.delta?.content ?? "");
  }
}
`;
}

export const LANGUAGES = { curl, python: pythonSdk, javascript };
