// JSON as other programs have it, and not only scripts.

/** What a text says; numbers that a script can't hold are kept as they stand, where the browser can. */
export function parse(text) {
  return JSON.parse(text, (_, value, context) => {
    const lossy = typeof value === "number" && context?.source && String(value) !== context.source;
    return lossy && JSON.rawJSON ? JSON.rawJSON(context.source) : value;
  });
}
