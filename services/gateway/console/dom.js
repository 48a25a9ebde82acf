// Finds and creates elements.

export const $ = id => document.getElementById(id);

/** Creates an element. Strings become text nodes and never markup. */
export function element(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** A time in the user's language and time zone. */
export function time(iso) {
  return element("time", { dateTime: iso, textContent: format.format(new Date(iso)) });
}

/** Sets a status text. An unchanged text is not replaced, so that screen readers do not repeat it. */
export function setStatus(node, ...content) {
  const text = content.map(part => part.textContent ?? part).join("");
  if (node.textContent !== text) node.replaceChildren(...content);
}
