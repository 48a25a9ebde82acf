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

/**
 * Takes a link's token; where it is for somebody else or another Space, only if the person agrees.
 * Resolves to whether it was taken.
 */
async function follow(linked) {
  const other = session.other(linked);
  if (other) {
    // The page behind the question is still that of the session that there is.
    if (!session.token) session.resume();
    if (!(await agreesTo(other))) return false;
  }
  const accepted = session.accept(linked);
  if (accepted) $("sign-in").hidden = true;
  return accepted;
}

async function agreesTo(other) {
  const dialog = $("switch");
  const closed = () => new Promise(resolve => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.open) {
    // A second link, while the first is asked about: the answer to the first is no.
    const first = closed();
    dialog.close("");
    await first;
  }
  $("switch-from").textContent = session.subject;
  $("switch-from-space").textContent = session.space;
  $("switch-to").textContent = other.subject;
  $("switch-to-space").textContent = other.spaces.join(", ");
  dialog.returnValue = "";
  dialog.showModal();
  await closed();
  return dialog.returnValue === "switch";
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
addEventListener("hashchange", async event => {
  // A link with a token, followed while the page was open.
  const linked = session.takeLinked();
  if (linked && !(await follow(linked))) {
    // As if the link had not been followed.
    history.replaceState(null, "", event.oldURL);
    return;
  }
  if (session.space) open();
});

list.start();
editor.start();
past.start();
const linked = session.takeLinked();
if (linked) await follow(linked);
if (!session.token && !session.resume()) {
  signIn("Paste a token of your Space. It is kept in this tab alone, until you close it.");
}
