// Starts the page: signing in, the route, and live changes.

import { listen } from "./api.js";
import { $, element, setStatus } from "./dom.js";
import { editor } from "./editor.js";
import { showError } from "./form.js";
import { historyView } from "./history.js";
import { parseRoute } from "./ids.js";
import { list } from "./list.js";
import { session } from "./session.js";

let listening = new AbortController();

function open() {
  const wanted = parseRoute(location.hash);
  document.body.dataset.view = wanted ? "connector" : "list";
  list.select(wanted === "new" ? null : wanted);
  if (!wanted) return editor.close();
  historyView.show(null);
  return editor.open(wanted === "new" ? null : wanted);
}

/** Shows a Space, after signing in or choosing another one. */
function enter() {
  $("who").hidden = false;
  $("work").hidden = false;
  $("space").replaceChildren(...session.spaces.map(space =>
    element("option", { value: space, textContent: space, selected: space === session.space })));
  listening.abort();
  listening = new AbortController();
  list.clear();
  const refresh = () => {
    list.reload();
    editor.refresh();
  };
  listen(listening.signal, {
    connected() {
      setStatus($("live"), "Live");
      refresh();
    },
    changed(event) {
      if (event.kind === "MISSED") {
        refresh();
      } else {
        list.changed(event);
        editor.changed(event);
      }
    },
    lost() {
      setStatus($("live"), "Not live; connecting…");
      list.reload();
    },
  });
  open();
}

/** Asks for a token next to the current work, so that the user can continue to type. */
function askForToken(reason) {
  $("sign-in").hidden = false;
  setStatus($("sign-in-why"), reason);
  if (document.activeElement === document.body) $("token").focus();
}

/**
 * Uses the token of a link. If it is for another user or another Space, the user must confirm it.
 * Resolves to whether the token is used.
 */
async function useLinkedToken(linked) {
  const other = session.other(linked);
  if (other) {
    // The page behind the dialog still shows the current session.
    if (!session.token) session.resume();
    if (!(await confirmSwitch(other))) return false;
  }
  const accepted = session.accept(linked);
  if (accepted) $("sign-in").hidden = true;
  return accepted;
}

async function confirmSwitch(other) {
  const dialog = $("switch");
  const closed = () => new Promise(resolve => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.open) {
    // A second link was opened while the dialog for the first one is open: the first one is declined.
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
  showError($("token").closest("[data-field]"), accepted ? null : "This is no token that names a Space.");
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
  askForToken("The token is not valid (any more). Paste a new one: nothing that you typed is lost."));
addEventListener("hashchange", async event => {
  // A link with a token was opened in this page.
  const linked = session.takeLinked();
  if (linked && !(await useLinkedToken(linked))) {
    // The link was declined, so the page shows the previous address again.
    history.replaceState(null, "", event.oldURL);
    return;
  }
  if (session.space) open();
});

list.start();
editor.start();
historyView.start();
const linked = session.takeLinked();
if (linked) await useLinkedToken(linked);
if (!session.token && !session.resume()) {
  askForToken("Paste a token of your Space. It is kept in this tab alone, until you close it.");
}
