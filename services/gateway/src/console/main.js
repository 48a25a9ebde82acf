// The page: signing in, which connector is open, and what happens elsewhere.

import { listen } from "./api.js";
import { $, element, tell } from "./dom.js";
import { editor } from "./editor.js";
import { fault } from "./form.js";
import { past } from "./history.js";
import { routed } from "./ids.js";
import { list } from "./list.js";
import { session } from "./session.js";

let listening = new AbortController();

function open() {
  const wanted = routed(location.hash);
  document.body.dataset.view = wanted ? "connector" : "list";
  list.select(wanted === "new" ? null : wanted);
  if (!wanted) return editor.close();
  past.show(null);
  return editor.open(wanted === "new" ? null : wanted);
}

/** Another Space: everything is read anew. */
function enter() {
  $("who").hidden = false;
  $("work").hidden = false;
  $("space").replaceChildren(...session.spaces.map(space =>
    element("option", { value: space, textContent: space, selected: space === session.space })));
  listening.abort();
  listening = new AbortController();
  list.clear();
  const readAgain = () => {
    list.reload();
    editor.refresh();
  };
  listen(listening.signal, {
    connected() {
      tell($("live"), "Live");
      readAgain();
    },
    changed(event) {
      if (event.kind === "MISSED") {
        readAgain();
      } else {
        list.changed(event);
        editor.changed(event);
      }
    },
    lost() {
      tell($("live"), "Not live; connecting…");
      list.reload();
    },
  });
  open();
}

/** Beside the work, and not in its way: whoever is typing goes on. */
function signIn(why) {
  $("sign-in").hidden = false;
  tell($("sign-in-why"), why);
  if (document.activeElement === document.body) $("token").focus();
}

$("sign-in-form").addEventListener("submit", event => {
  event.preventDefault();
  const accepted = session.accept($("token").value);
  fault($("token").closest("[data-field]"), accepted ? null : "This is no token that names a Space.");
  if (!accepted) return $("token").focus();
  $("token").value = "";
  $("sign-in").hidden = true;
});
$("sign-out").addEventListener("click", () => session.signOut());
$("space").addEventListener("change", event => {
  history.replaceState(null, "", "#/");
  session.choose(event.target.value);
});
session.addEventListener("changed", enter);
session.addEventListener("expired", () =>
  signIn("The token is not valid (any more). Paste a new one: nothing that you typed is lost."));
addEventListener("hashchange", () => {
  // A link with a token, followed while the page was open.
  const isLink = location.hash.startsWith("#token=");
  if (isLink && session.resume()) $("sign-in").hidden = true;
  if (session.space) open();
});

list.start();
editor.start();
past.start();
if (!session.resume()) {
  signIn("Paste a token of your Space. It is kept in this tab alone, until you close it.");
}
