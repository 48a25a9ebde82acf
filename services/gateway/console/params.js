// A table of parameters. Each row has a name and a value, and rows can be added and removed.

import { element } from "./dom.js";
import { errorsOf, same } from "./details.js";
import { namesASecret } from "./names.js";
import { settings } from "./settings.js";

/** The table in a fieldset. `changed` is called for each input in it. */
export class Params {
  #title;
  #body = element("tbody");
  #table;
  #add = element("button", { type: "button", textContent: "Add a parameter" });
  #changed;

  constructor(fieldset, changed) {
    this.#title = fieldset.querySelector("legend").textContent;
    this.#changed = changed;
    const head = ["Name", "Value", ""].map(text => element("th", { scope: "col", textContent: text }));
    head[2].append(element("span", { className: "unseen", textContent: "Remove" }));
    this.#table = element("table", {}, element("thead", {}, element("tr", {}, ...head)), this.#body);
    fieldset.append(this.#table, this.#add);
    this.#add.setAttribute("aria-label", `Add a parameter: ${this.#title}`);
    this.#add.addEventListener("click", () => {
      this.#body.append(this.#row({ name: "", value: "", json: false }));
      this.#number();
      this.#body.lastElementChild.querySelector("input").focus();
    });
    this.#number();
  }

  /** The rows of the table without the empty ones. */
  get rows() {
    return this.#filled().map(rowOf);
  }

  set rows(rows) {
    if (same(rows, this.rows)) return;
    this.#body.replaceChildren(...rows.map(row => this.#row(row)));
    this.#number();
  }

  /** Shows the errors of the rows, and returns the first input with an error. */
  check() {
    const rows = this.#filled();
    const errors = errorsOf(rows.map(rowOf));
    const invalid = rows.filter((row, index) => {
      this.#mark(row, errors[index]);
      return errors[index];
    });
    return invalid[0]?.querySelector("[aria-invalid]");
  }

  #filled() {
    return [...this.#body.rows].filter(row => {
      const { name, value } = rowOf(row);
      return name !== "" || value !== "";
    });
  }

  #row({ name, value, json }) {
    const [nameInput, valueInput] = [name, value].map(text =>
      element("input", { value: text, autocomplete: "off", spellcheck: false }));
    const hide = () => {
      const secret = namesASecret(nameInput.value) && valueInput.value !== settings.mask;
      valueInput.type = secret ? "password" : "text";
    };
    hide();
    const remove = element("button", { type: "button", className: "quiet", textContent: "✕" });
    const error = element("p", { className: "fault", hidden: true });
    const cells = [element("td", {}, nameInput, error), element("td", {}, valueInput), element("td", {}, remove)];
    const row = element("tr", {}, ...cells);
    row.dataset.json = json;
    row.addEventListener("input", () => {
      hide();
      this.#mark(row, null);
      this.#changed();
    });
    remove.addEventListener("click", () => {
      const neighbour = row.nextElementSibling ?? row.previousElementSibling;
      row.remove();
      this.#number();
      (neighbour?.querySelector("input") ?? this.#add).focus();
      this.#changed();
    });
    return row;
  }

  #mark(row, message) {
    const error = row.querySelector(".fault");
    error.hidden = !message;
    error.textContent = message ?? "";
    const [name, value] = row.querySelectorAll("input");
    const invalid = row.dataset.json === "true" && rowOf(row).name !== "" ? value : name;
    for (const input of [name, value]) {
      input.removeAttribute("aria-invalid");
      input.removeAttribute("aria-describedby");
    }
    if (!message) return;
    invalid.setAttribute("aria-invalid", "true");
    invalid.setAttribute("aria-describedby", error.id);
  }

  /** Labels each input with the number of its row. */
  #number() {
    this.#table.hidden = this.#body.rows.length === 0;
    [...this.#body.rows].forEach((row, index) => {
      const position = `${this.#title}, row ${index + 1}`;
      const [name, value] = row.querySelectorAll("input");
      name.setAttribute("aria-label", `Name: ${position}`);
      value.setAttribute("aria-label", `${row.dataset.json === "true" ? "JSON value" : "Value"}: ${position}`);
      row.querySelector("button").setAttribute("aria-label", `Remove: ${position}`);
      row.querySelector(".fault").id = `${this.#title.replaceAll(" ", "-")}-${index}-fault`;
    });
  }
}

function rowOf(row) {
  const [name, value] = row.querySelectorAll("input");
  return { name: name.value, value: value.value, json: row.dataset.json === "true" };
}
