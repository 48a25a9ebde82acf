// The inputs of the form, their values and their messages.

import { $, element } from "./dom.js";
import { IDS } from "./ids.js";
import { Params } from "./params.js";

const form = $("editor");
const TEXTS = ["clientId", "baseURL", "companyId", "detailsClientId"];
const tables = {};

/** Creates the tables. `onInput` is called for each input in them. */
export function build(onInput) {
  for (const fieldset of form.querySelectorAll("[data-params]")) {
    tables[fieldset.dataset.field] = new Params(fieldset, onInput);
  }
}

/** The values of the form, without the ids and the secret. */
export function values() {
  const texts = Object.fromEntries(TEXTS.map(name => [name, $(name).value]));
  const rows = Object.fromEntries(Object.entries(tables).map(([name, table]) => [name, table.rows]));
  return { ...texts, ...rows, isTokenGenerated: $("isTokenGenerated").checked };
}

export function fill(values) {
  for (const name of TEXTS) setValue($(name), values[name]);
  for (const [name, table] of Object.entries(tables)) table.rows = values[name];
  $("isTokenGenerated").checked = values.isTokenGenerated;
}

export function ids() {
  return Object.fromEntries(IDS.map(name => [name, $(name).value]));
}

export function fillIds(ids) {
  for (const name of IDS) setValue($(name), ids?.[name] ?? "");
}

/** Does not set an equal value, because that would move the cursor. */
function setValue(input, value) {
  if (input.value !== value) input.value = value;
}

/** Shows the errors of the tables, and returns the first input with an error. */
export function checkTables() {
  return Object.values(tables).map(table => table.check()).find(Boolean);
}

/** Shows an error next to its field, or removes it. */
export function showError(field, message) {
  if (!field) return;
  const input = field.querySelector("input, button");
  const id = `${field.dataset.field}-fault`;
  const described = (input.getAttribute("aria-describedby") ?? "").split(" ");
  const others = described.filter(one => one && one !== id);
  if (message) {
    const shown = $(id) ?? field.appendChild(element("p", { id, className: "fault" }));
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

/** The element of a field, if the form has that field. */
export function fieldElement(name) {
  return form.querySelector(`[data-field="${CSS.escape(name ?? "")}"]`);
}

export function clearErrors() {
  for (const field of form.querySelectorAll("[data-field]")) showError(field, null);
}

/** Shows next to a field the value that was saved elsewhere, with a button to use it. */
export function showConflict(field, theirs, onUse) {
  const parent = fieldElement(field);
  const use = element("button", { type: "button", className: "quiet", textContent: "Use it" });
  use.setAttribute("aria-label", `Use it: ${parent.querySelector("label, legend").textContent} as saved elsewhere`);
  use.addEventListener("click", () => {
    fill({ ...values(), [field]: theirs });
    use.parentElement.remove();
    parent.querySelector("input, button").focus();
    onUse();
  });
  parent.append(element("p", { className: "clash" }, `Saved elsewhere meanwhile: ${text(theirs)} `, use));
}

export function clearConflicts() {
  for (const conflict of form.querySelectorAll(".clash")) conflict.remove();
}

function text(value) {
  if (Array.isArray(value)) {
    return value.map(row => `${row.name} = ${row.value}`).join(", ") || "no parameters";
  }
  if (typeof value === "boolean") return value ? "yes" : "no";
  return value || "nothing";
}
