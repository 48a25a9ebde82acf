// The form's inputs: what stands in them, and what is said beside them.

import { $, element } from "./dom.js";
import { IDS } from "./ids.js";
import { Params } from "./params.js";

const form = $("editor");
const TEXTS = ["clientId", "baseURL", "companyId", "detailsClientId"];
const tables = {};

/** Makes the tables. `typed` is called for what is typed in them. */
export function build(typed) {
  for (const fieldset of form.querySelectorAll("[data-params]")) {
    tables[fieldset.dataset.field] = new Params(fieldset, typed);
  }
}

/** What stands in the form; the ids and the secret by themselves. */
export function values() {
  const texts = Object.fromEntries(TEXTS.map(name => [name, $(name).value]));
  const rows = Object.fromEntries(Object.entries(tables).map(([name, table]) => [name, table.rows]));
  return { ...texts, ...rows, isTokenGenerated: $("isTokenGenerated").checked };
}

export function fill(shown) {
  for (const name of TEXTS) put($(name), shown[name]);
  for (const [name, table] of Object.entries(tables)) table.rows = shown[name];
  $("isTokenGenerated").checked = shown.isTokenGenerated;
}

export function ids() {
  return Object.fromEntries(IDS.map(name => [name, $(name).value]));
}

export function fillIds(shown) {
  for (const name of IDS) put($(name), shown?.[name] ?? "");
}

/** Whoever is typing keeps the place: what is the same is not touched. */
function put(input, value) {
  if (input.value !== value) input.value = value;
}

/** Shows what is wrong with the tables, and gives the first input that has to change. */
export function checkTables() {
  return Object.values(tables).map(table => table.check()).find(Boolean);
}

/** Shows a fault beside its field, or takes it away. */
export function fault(place, message) {
  if (!place) return;
  const input = place.querySelector("input, button");
  const id = `${place.dataset.field}-fault`;
  const described = (input.getAttribute("aria-describedby") ?? "").split(" ");
  const others = described.filter(one => one && one !== id);
  if (message) {
    const shown = $(id) ?? place.appendChild(element("p", { id, className: "fault" }));
    shown.textContent = `${shown.textContent} ${message}`.trim();
    input.setAttribute("aria-invalid", "true");
    others.push(id);
  } else {
    $(id)?.remove();
    input.removeAttribute("aria-invalid");
  }
  if (others.length > 0) input.setAttribute("aria-describedby", others.join(" "));
  else input.removeAttribute("aria-describedby");
}

/** Where a field's faults are shown, if the form has it. */
export function place(field) {
  return form.querySelector(`[data-field="${CSS.escape(field ?? "")}"]`);
}

export function clearFaults() {
  for (const field of form.querySelectorAll("[data-field]")) fault(field, null);
}

/** Shows beside a field what was saved elsewhere, with a way to take it. */
export function showClash(field, theirs, taken) {
  const where = place(field);
  const use = element("button", { type: "button", className: "quiet", textContent: "Use it" });
  use.setAttribute("aria-label", `Use it: ${where.querySelector("label, legend").textContent} as saved elsewhere`);
  use.addEventListener("click", () => {
    fill({ ...values(), [field]: theirs });
    use.parentElement.remove();
    where.querySelector("input, button").focus();
    taken();
  });
  where.append(element("p", { className: "clash" }, `Saved elsewhere meanwhile: ${words(theirs)} `, use));
}

export function clearClashes() {
  for (const clash of form.querySelectorAll(".clash")) clash.remove();
}

function words(value) {
  if (Array.isArray(value)) {
    return value.map(row => `${row.name} = ${row.value}`).join(", ") || "no parameters";
  }
  if (typeof value === "boolean") return value ? "yes" : "no";
  return value || "nothing";
}
