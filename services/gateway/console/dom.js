// Elements, made and found.

export const $ = id => document.getElementById(id);

/** An element with properties and children. Text goes in as text, never as markup. */
export function element(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

const moments = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** A moment, in the reader's words. */
export function time(iso) {
  return element("time", { dateTime: iso, textContent: moments.format(new Date(iso)) });
}

/** Says in a status line what is the case, and once: an unchanged line is not read out again. */
export function tell(node, ...content) {
  const text = content.map(part => part.textContent ?? part).join("");
  if (node.textContent !== text) node.replaceChildren(...content);
}
