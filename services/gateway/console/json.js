// Parses JSON without losing the precision of numbers.

/** The value of a JSON text. Numbers that JavaScript can't represent exactly are preserved, if the browser supports it. */
export function parse(text) {
  return JSON.parse(text, (_, value, context) => {
    const lossy = typeof value === "number" && context?.source && String(value) !== context.source;
    return lossy && JSON.rawJSON ? JSON.rawJSON(context.source) : value;
  });
}
