/**
 * The behaviour of report.html: filters, details on demand, theme. Everything shown is in the page
 * already; console slices are deflated and are put in as text only, never as markup. Filters are
 * kept in the address (`#status=fail&suite=xtest&text=1006&case=xtest.regression_1006`).
 */
export const SCRIPT = `(() => {
"use strict";
const one = (s, root = document) => root.querySelector(s);
const all = (s, root = document) => [...root.querySelectorAll(s)];
const rows = all("tr.case");
const text = one("#text"), suite = one("#suite"), shown = one("#shown");
const buttons = all("button.status");
const state = { status: new Set(), suite: "", text: "", open: new Set() };

async function inflate(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return await new Response(stream).text();
}

function fill(root) {
  for (const pre of all("pre[data-slice]", root)) {
    const source = document.getElementById(pre.dataset.slice);
    if (source === null) continue;
    if (typeof DecompressionStream === "undefined") {
      pre.textContent = "This browser cannot unpack the embedded console; see the file named above.";
      continue;
    }
    inflate(source.textContent.trim()).then(
      (value) => { pre.textContent = value; pre.dataset.ready = "yes"; },
      () => { pre.textContent = "The embedded console is damaged; see the file named above."; },
    );
  }
}

function toggle(row, open) {
  const button = one("button", row);
  const isOpen = button.getAttribute("aria-expanded") === "true";
  if (open === undefined) open = !isOpen;
  if (open === isOpen) return;
  button.setAttribute("aria-expanded", String(open));
  if (open) {
    state.open.add(row.dataset.id);
    const detail = document.createElement("tr");
    detail.className = "detail";
    const cell = detail.insertCell();
    cell.colSpan = row.cells.length;
    cell.append(one("template", row).content.cloneNode(true));
    row.after(detail);
    fill(detail);
  } else {
    state.open.delete(row.dataset.id);
    if (row.nextElementSibling?.classList.contains("detail")) row.nextElementSibling.remove();
  }
}

function apply() {
  const words = state.text.toLowerCase().split(/\\s+/).filter((w) => w !== "");
  let count = 0;
  for (const row of rows) {
    const statuses = row.dataset.status.split(" ");
    const visible =
      (state.status.size === 0 || statuses.some((s) => state.status.has(s))) &&
      (state.suite === "" || row.dataset.suite === state.suite) &&
      words.every((w) => row.dataset.text.includes(w));
    row.hidden = !visible;
    if (row.nextElementSibling?.classList.contains("detail")) row.nextElementSibling.hidden = !visible;
    if (visible) count += 1;
  }
  for (const group of all("tbody.suite")) {
    group.hidden = all("tr.case", group).every((row) => row.hidden);
  }
  for (const b of buttons) b.setAttribute("aria-pressed", String(state.status.has(b.dataset.status)));
  shown.textContent = count === rows.length ? rows.length + " cases" : count + " of " + rows.length + " cases";
  one("#nothing").hidden = count !== 0;
}

function remember() {
  const parts = new URLSearchParams();
  if (state.status.size > 0) parts.set("status", [...state.status].join(","));
  if (state.suite !== "") parts.set("suite", state.suite);
  if (state.text !== "") parts.set("text", state.text);
  for (const id of state.open) parts.append("case", id);
  try { history.replaceState(null, "", "#" + parts.toString()); } catch { /* some browsers refuse on file: */ }
}

function recall() {
  const hash = location.hash.slice(1);
  if (hash !== "" && !hash.includes("=")) return;
  const parts = new URLSearchParams(hash);
  state.status = new Set((parts.get("status") ?? "").split(",").filter((s) => s !== ""));
  state.suite = parts.get("suite") ?? "";
  state.text = parts.get("text") ?? "";
  text.value = state.text;
  suite.value = state.suite;
  apply();
  for (const id of parts.getAll("case")) {
    const row = rows.find((r) => r.dataset.id === id);
    if (row === undefined) continue;
    toggle(row, true);
    row.scrollIntoView({ block: "center" });
  }
}

for (const row of rows) {
  one("button", row).addEventListener("click", () => { toggle(row); remember(); });
}
for (const b of buttons) b.addEventListener("click", () => {
  if (!state.status.delete(b.dataset.status)) state.status.add(b.dataset.status);
  apply(); remember();
});
text.addEventListener("input", () => { state.text = text.value; apply(); remember(); });
suite.addEventListener("change", () => { state.suite = suite.value; apply(); remember(); });
one("#all").addEventListener("click", () => {
  state.status.clear(); state.suite = ""; state.text = "";
  text.value = ""; suite.value = "";
  apply(); remember();
});
document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement;
  if (event.key === "/" && !typing) { event.preventDefault(); text.focus(); }
  if (event.key === "Escape" && event.target === text) { text.value = ""; state.text = ""; apply(); remember(); }
});
const themes = ["auto", "light", "dark"];
const themeButton = one("#theme");
function theme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  themeButton.textContent = "Theme: " + name;
  themeButton.dataset.name = name;
}
themeButton.addEventListener("click", () => {
  theme(themes[(themes.indexOf(themeButton.dataset.name) + 1) % themes.length]);
});
theme("auto");
for (const element of all(".js-only")) element.hidden = false;
window.addEventListener("hashchange", recall);
apply();
recall();
document.documentElement.dataset.ready = "yes";
})();`;
