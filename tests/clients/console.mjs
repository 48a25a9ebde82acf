// A person at the console, in a real Chromium. One scenario a run: node console.mjs NAME.
//
// What only the outside can do - ending everything and starting it again - is asked for by a line
// on standard output, and has been done when a line comes on standard input.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { createInterface } from "node:readline/promises";
import { chromium } from "playwright-core";

const { GATEWAY_URL, SPACE_GUID, TOKEN, OTHER_TOKEN, SHORT_TOKEN, CHROMIUM, SCREENSHOTS } = process.env;
const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const PATIENCE = 20_000;
const SECRET = "a-secret-nobody-may-keep";

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
const said = [];

/** A tab of the console that is kept up to date. */
async function visit(options) {
  const page = await begin(options);
  await page.getByText("Live", { exact: true }).waitFor();
  return page;
}

/** A tab of the console; with what another tab left behind, or as a first visit. */
async function begin({ state, token = TOKEN, size, scheme, before } = {}) {
  const context = await browser.newContext({
    storageState: state,
    viewport: size ?? { width: 1440, height: 900 },
    colorScheme: scheme ?? "light",
  });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  page.on("console", message => message.type() === "error" && said.push(message.text()));
  page.on("pageerror", error => said.push(String(error)));
  page.on("request", request => assert.ok(request.url().startsWith(GATEWAY_URL) || request.url().startsWith("data:"), request.url()));
  await before?.(page);
  await page.goto(`${GATEWAY_URL}/console#token=${token}`);
  return page;
}

/** What waits for it goes on when it is opened. */
function gate() {
  let open;
  const opened = new Promise(resolve => { open = resolve; });
  return { open, opened };
}

async function until(what, check) {
  const end = Date.now() + PATIENCE;
  while (!(await check())) {
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}

async function ask(query, variables, token = TOKEN) {
  const response = await fetch(`${GATEWAY_URL}/graphql`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, SPACE_GUID, "Content-Type": "application/json" },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await response.json();
  assert.equal(errors, undefined, JSON.stringify(errors));
  return data;
}

/** More connectors than two pages of the list show. */
async function saveMany() {
  for (let first = 0; first < 45; first += 15) {
    await Promise.all(Array.from({ length: 15 }, (_, index) => {
      const number = String(first + index).padStart(2, "0");
      return saveElsewhere({ integrationPackInstanceId: `pack ${number}`, connectionId: `c${number}`, isTokenGenerated: number === "44", clientId: `client ${number}` });
    }));
  }
}

const IDS = { integrationPackInstanceId: "pack", processId: "process", envId: "env", connectionId: "connection" };
/** With a number that scripts can't hold, under a key that the form does not show. */
const DETAILS = '{"baseURL":"https://idp.example", "companyId":"7","authParams":{"scope":"read"},"other":12345678901234567890}';

/** Saves as somebody else, with another page or service. */
async function saveElsewhere(changes = {}, token = OTHER_TOKEN) {
  const { details, ...fields } = changes;
  const input = {
    ...IDS, catalogGuid: SPACE_GUID, clientId: "client", clientSecret: "dummyClientSecret", isTokenGenerated: false,
    oauthConnectorDetails: details ?? DETAILS,
    ...fields,
  };
  const query = `mutation save($input: SaveIPackInstanceOauthConnectorDetailsInput!) {
    saved: saveIPackInstanceOauthConnectorDetails(input: $input) { revision } }`;
  return (await ask(query, { input }, token)).saved;
}

async function stored(ids = IDS) {
  const query = `query find($input: IPackInstanceOAuthConnectorDetailsInput!) {
    record: IPackInstanceOAuthConnectorDetails(input: $input)
    { oauthConnectorDetails clientId isTokenGenerated revision updatedBy } }`;
  return (await ask(query, { input: { ...ids, catalogGuid: SPACE_GUID } })).record;
}

const state = page => page.locator("#state");
const title = page => page.locator("#title");
const field = (page, name) => page.getByLabel(name, { exact: true });

async function open(page, name = "pack") {
  await page.getByRole("link", { name: new RegExp(`^${name} process`) }).click();
  await title(page).filter({ hasText: name }).waitFor();
  await page.getByText(/^Revision \d/).first().waitFor();
}

async function saved(page, revision) {
  await state(page).filter({ hasText: `Saved: revision ${revision}.` }).waitFor();
}

async function addParameter(page, table, row, name, value) {
  await page.getByRole("button", { name: `Add a parameter: ${table}` }).click();
  await field(page, `Name: ${table}, row ${row}`).fill(name);
  await field(page, `Value: ${table}, row ${row}`).fill(value);
}

/** Everything that the browser keeps, as text. */
async function storedText(page) {
  return page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
}

async function violations(page) {
  // As an extension would: the page's own policy lets no foreign script in.
  const session = await page.context().newCDPSession(page);
  const { readFileSync } = await import("node:fs");
  await session.send("Runtime.evaluate", { expression: readFileSync(AXE, "utf8") });
  const { result } = await session.send("Runtime.evaluate", {
    expression: "axe.run().then(found => JSON.stringify(found.violations.map(({ id, nodes }) => [id, nodes.map(node => node.html)])))",
    awaitPromise: true, returnByValue: true,
  });
  return JSON.parse(result.value);
}

async function asked(what) {
  console.log(what);
  const lines = createInterface({ input: process.stdin });
  await lines[Symbol.asyncIterator]().next();
  lines.close();
}

const scenarios = {
  /** From nothing to a saved connector, and its history. */
  async configures() {
    const page = await visit();
    assert.ok(!page.url().includes("token"), page.url());
    await page.getByRole("link", { name: "New connector" }).click();
    await field(page, "Integration Pack instance").fill("made here");
    await field(page, "Process").fill("1");
    await field(page, "Environment").fill("a/b ü");
    await field(page, "Client id").fill("the client");
    await field(page, "Client secret").fill(SECRET);
    await field(page, "Base URL").fill("ftp://wrong");
    await addParameter(page, "Authorization parameters", 1, "scope", "read");
    await addParameter(page, "Access token parameters", 1, "password", "typed-and-masked");
    await page.getByRole("button", { name: "Save", exact: true }).click();

    // All faults at once, beside their fields, in the gateway's words.
    await page.getByText("connectionId must not be empty or blank.").waitFor();
    const url = await field(page, "Base URL").evaluate(input => document.getElementById(input.getAttribute("aria-describedby")).textContent);
    assert.match(url, /must hold an absolute http or https URL, or an empty string, as its baseURL/);
    assert.equal(await field(page, "Connection").evaluate(input => input === document.activeElement), true);
    await field(page, "Connection").fill("1");
    await field(page, "Base URL").fill("https://idp.example");
    await page.keyboard.press("Control+s");
    await saved(page, 1);

    const ids = { integrationPackInstanceId: "made here", processId: "1", envId: "a/b ü", connectionId: "1" };
    const record = await stored(ids);
    assert.deepEqual(JSON.parse(record.oauthConnectorDetails), {
      baseURL: "https://idp.example", authParams: { scope: "read" }, accessTokenParams: { password: "dummyClientSecret" },
    });
    assert.equal(await field(page, "Client secret").inputValue(), "");
    assert.equal(await field(page, "Client secret").getAttribute("placeholder"), "dummyClientSecret");
    assert.equal(await field(page, "Value: Access token parameters, row 1").inputValue(), "dummyClientSecret");

    await page.getByRole("button", { name: "Remove: Authorization parameters, row 1" }).click();
    await field(page, "Company id").fill("7");
    await page.getByLabel("The access token has been generated").check();
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await saved(page, 2);
    const newest = page.locator("#changes li").first();
    await newest.filter({ hasText: "Revision 2, saved" }).waitFor();
    assert.match(await newest.textContent(), /Changed: .*isTokenGenerated|Changed: .*oauthConnectorDetails/);
    assert.match(await newest.textContent(), /a person/);

    await page.reload();
    await title(page).filter({ hasText: "made here" }).waitFor();
    assert.equal(await field(page, "Company id").inputValue(), "7");
    assert.ok(!(await storedText(page)).includes(SECRET));
    await page.getByRole("button", { name: "Delete…" }).click();
    await page.getByRole("button", { name: "Delete", exact: true }).click();
    await page.getByText("Choose a connector").waitFor();
    assert.equal(await stored(ids), null);
    assert.equal(await page.getByRole("link", { name: /^made here/ }).count(), 0);
  },

  /** What is read and saved again stays byte for byte, and an edit touches what it touches. */
  async preserves() {
    await saveElsewhere();
    const page = await visit();
    await open(page);
    await field(page, "Client id").fill("another client");
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await saved(page, 2);
    assert.equal((await stored()).oauthConnectorDetails, DETAILS);

    await field(page, "Company id").fill("8");
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await saved(page, 3);
    assert.equal((await stored()).oauthConnectorDetails, DETAILS.replace(", ", ",").replace('"7"', '"8"'));

    await addParameter(page, "Authorization parameters", 2, "scope", "twice");
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await page.getByText("Another parameter has this name.").waitFor();
    assert.equal((await stored()).revision, 3);
  },

  /** A refresh, and a closed tab: what was typed is there, the secret is not. */
  async keeps() {
    await saveElsewhere();
    let page = await visit();
    await open(page);
    await field(page, "Company id").fill("typed");
    await field(page, "Base URL").fill(`https://user:${SECRET}@idp.example?api_key=${SECRET}`);
    await field(page, "Client secret").fill(SECRET);
    await addParameter(page, "Access token parameters", 1, "password", SECRET);
    await addParameter(page, "Access token parameters", 2, "note", `with ${SECRET} inside`);
    assert.ok(!(await storedText(page)).includes(SECRET), await storedText(page));
    await page.reload();
    await page.getByText(/^Revision 1/).first().waitFor();
    assert.equal(await field(page, "Company id").inputValue(), "typed");
    assert.equal(await field(page, "Client secret").inputValue(), "");
    assert.equal(await field(page, "Value: Access token parameters, row 2").inputValue(), "with dummyClientSecret inside");

    await page.getByRole("link", { name: "New connector" }).click();
    await title(page).filter({ hasText: "New connector" }).waitFor();
    await field(page, "Process").fill("half");
    const left = await page.context().storageState();
    await page.context().close();
    // The token was the tab's; what was typed is the browser's.
    page = await visit({ state: left });
    await page.getByText("not saved", { exact: true }).waitFor();
    await page.getByRole("link", { name: "New connector" }).click();
    await until("the new connector", async () => (await field(page, "Process").inputValue()) === "half");
    await open(page);
    assert.equal(await field(page, "Company id").inputValue(), "typed");
    await page.getByRole("button", { name: "Discard changes" }).click();
    assert.equal(await field(page, "Company id").inputValue(), "7");
    assert.equal(await page.getByText("not saved", { exact: true }).count(), 0);

    // Somebody else at the same browser finds nothing of it.
    await field(page, "Company id").fill("mine alone");
    const shared = await page.context().storageState();
    page = await visit({ state: shared, token: OTHER_TOKEN });
    await open(page);
    assert.equal(await field(page, "Company id").inputValue(), "7");
  },

  /** The browser keeps of what is typed what the service keeps of it, letter by letter. */
  async masks() {
    const nested = '{"deep":[{"Client-Secret":"x","n":12345678901234567890}],"note":"y"}';
    await saveElsewhere({ details: `{"authParams":{"nested":${nested.replace('"x"', '"z"')}}}` });
    const page = await visit();
    await open(page);
    await field(page, "JSON value: Authorization parameters, row 1").fill(nested);
    const rows = {
      "PASS-word": "one", "empty": "", "tokenType": "bearer", "api_key": SECRET, "note": `${SECRET} and ${SECRET}`,
      "url": `https://u:p@ss@host/x?a=1&Access%5FToken=t;id_token=i#secret=s`, "short": "https://u:@host",
      "jdbc": "jdbc:postgresql://u:pw@host/db", "key": "client_secret", "value": "in a pair", "unicode": "ünïcode",
      "param-value": "in a pair too", "X-API-Key": "k", "Authorization": "bEARER  t.o.k.e.n ", "passphrase": "[[HIDDEN]]",
      "form": "grant_type=client_credentials&client%5Fsecret=f%26&scope=a", "hidden": "a=b&secret=[Hidden]&c=d",
      "connection": "Server=x;User Id=sa;Pwd='a;b=c';Client Secret = d e ; App=f", "driver": "jdbc:sqlserver://h:1433;user=u;password=p@s:s;x=y",
      "encoded": `%61${SECRET.slice(1).replaceAll("-", "%2d")}${SECRET}%2D`, "prose": "The secret of it = patience; x == y", "overlap": SECRET + SECRET,
    };
    let row = 0;
    for (const [name, value] of Object.entries(rows)) await addParameter(page, "Access token parameters", row += 1, name, value);
    await field(page, "Base URL").fill("https://u:pw@host?password=p&q=1");
    await field(page, "Company id").fill(`not hidden here: ${SECRET}`.slice(0, 17));
    await field(page, "Client secret").fill(SECRET);
    const draft = await page.evaluate(() => JSON.parse(Object.entries(localStorage).find(([name]) => name.includes("draft"))[1]).values);
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await saved(page, 2);
    const details = JSON.parse((await stored()).oauthConnectorDetails);
    const params = Object.fromEntries(draft.accessTokenParams.map(({ name, value }) => [name, value]));
    assert.deepEqual(params, details.accessTokenParams);
    assert.equal(draft.baseURL, details.baseURL);
    assert.match((await stored()).oauthConnectorDetails, /"n":12345678901234567890/);
    assert.equal(draft.authParams[0].value, '{"deep":[{"Client-Secret":"dummyClientSecret","n":12345678901234567890}],"note":"y"}');
    assert.ok(JSON.stringify(details).split("dummyClientSecret").length > 10, JSON.stringify(details));
  },

  /** Saves made elsewhere appear, and never over what is being typed. */
  async follows() {
    await saveElsewhere();
    const page = await visit();
    await saveElsewhere({ connectionId: "second" });
    await page.getByRole("link", { name: /connection second/ }).waitFor();
    await page.getByRole("link", { name: /connection connection/ }).click();
    await page.getByText(/^Revision 1/).first().waitFor();
    await field(page, "Company id").focus();
    await page.keyboard.type("55");
    const typed = await field(page, "Company id").inputValue();
    await saveElsewhere({ clientId: "changed elsewhere", details: '{"baseURL":"https://idp.example","companyId":"theirs","authParams":{"scope":"write"}}' });
    await page.getByText("another person saved revision 2. What you typed is kept").waitFor();
    await page.keyboard.type("6");
    assert.equal(await field(page, "Client id").inputValue(), "changed elsewhere");
    assert.equal(await field(page, "Value: Authorization parameters, row 1").inputValue(), "write");
    assert.equal((await field(page, "Company id").inputValue()).length, typed.length + 1);
    await page.getByText("Saved elsewhere meanwhile: theirs").waitFor();
    await page.getByRole("button", { name: /^Use it: Company id/ }).click();
    assert.equal(await field(page, "Company id").inputValue(), "theirs");
    await field(page, "Company id").fill("both");
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await saved(page, 3);
    const record = await stored();
    assert.equal(record.clientId, "changed elsewhere");
    assert.deepEqual(JSON.parse(record.oauthConnectorDetails), { baseURL: "https://idp.example", companyId: "both", authParams: { scope: "write" } });

    // What exists is not written over by who does not know of it.
    await page.getByRole("link", { name: "New connector" }).click();
    for (const [name, value] of [["Integration Pack instance", "pack"], ["Process", "process"], ["Environment", "env"], ["Connection", "second"], ["Client id", "x"], ["Client secret", SECRET]]) {
      await field(page, name).fill(value);
    }
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await page.getByText("A connector with these ids exists already.").waitFor();
    assert.equal((await stored({ ...IDS, connectionId: "second" })).clientId, "client");
    await page.getByRole("link", { name: "Open it" }).click();
    await title(page).filter({ hasText: "pack" }).waitFor();
  },

  /** Everything dies while somebody types and saves; nothing typed is lost, and it is saved once. */
  async survives() {
    await saveElsewhere();
    const page = await visit();
    await open(page);
    await field(page, "Company id").fill("typed before");
    await asked("kill");
    await page.getByText("Not live; connecting…").waitFor();
    await field(page, "Client id").fill("typed meanwhile");
    await field(page, "Client secret").fill(SECRET);
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await state(page).filter({ hasText: "Repeating is safe; trying again" }).waitFor();
    assert.ok(!(await storedText(page)).includes(SECRET));
    await asked("start");
    await saved(page, 2);
    await page.getByText("Live", { exact: true }).waitFor();
    assert.equal((await stored()).clientId, "typed meanwhile");

    // And once more, with a refresh between: the page goes on with the save that it had begun.
    await field(page, "Company id").fill("typed again");
    await field(page, "Client secret").fill(SECRET);
    await page.route("**/graphql", route => route.abort());
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await state(page).filter({ hasText: "Repeating is safe" }).waitFor();
    await page.unroute("**/graphql");
    await page.reload();
    await saved(page, 3);
    assert.equal(JSON.parse((await stored()).oauthConnectorDetails).companyId, "typed again");
    assert.ok(!(await storedText(page)).includes(SECRET));
  },

  /** A token ends: typing goes on, and so does the save with the next one. */
  async renews() {
    await saveElsewhere();
    const page = await visit({ token: SHORT_TOKEN });
    await open(page);
    await field(page, "Company id").fill("typed");
    await page.getByText("Paste a new one: nothing that you typed is lost.").waitFor({ timeout: 60_000 });
    await field(page, "Company id").fill("typed on");
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await state(page).filter({ hasText: "Waiting for a new token." }).waitFor();
    await field(page, "Token").fill("nonsense");
    await page.keyboard.press("Enter");
    await page.getByText("This is no token that names a Space.").waitFor();
    await field(page, "Token").fill(TOKEN);
    await page.keyboard.press("Enter");
    await saved(page, 2);
    assert.equal((await stored()).updatedBy, "a person");
  },

  /** Somebody else signs in where a save waits for a token: it is not theirs to make. */
  async abandons() {
    await saveElsewhere();
    const page = await visit({ token: SHORT_TOKEN });
    await open(page);
    await field(page, "Company id").fill("typed by the first");
    await page.getByText("Paste a new one: nothing that you typed is lost.").waitFor({ timeout: 60_000 });
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await state(page).filter({ hasText: "Waiting for a new token." }).waitFor();
    await field(page, "Token").fill(OTHER_TOKEN);
    await page.keyboard.press("Enter");
    await until("the stored values", async () => (await field(page, "Company id").inputValue()) === "7");
    assert.equal((await stored()).revision, 1);
    // The first comes back by a link, and the save goes on.
    await page.goto(`${GATEWAY_URL}/console#token=${TOKEN}`);
    await page.getByRole("button", { name: "Change", exact: true }).click();
    await page.getByText("not saved", { exact: true }).waitFor();
    assert.ok(!page.url().includes("token"), page.url());
    await open(page);
    await saved(page, 2);
    const record = await stored();
    assert.equal(record.updatedBy, "a person");
    assert.equal(JSON.parse(record.oauthConnectorDetails).companyId, "typed by the first");
  },

  /** A link with somebody else's token takes nothing over without being asked. */
  async asks() {
    await saveElsewhere();
    const page = await visit();
    await open(page);
    await field(page, "Company id").fill("mine");
    const dialog = page.getByRole("dialog", { name: "Change to another session?" });
    const token = () => page.evaluate(() => sessionStorage.getItem("connector-details:token"));

    // While the page is open, by keyboard: the safe answer has the focus, and Escape gives it, too.
    for (const key of ["Enter", "Escape"]) {
      await page.goto(`${GATEWAY_URL}/console#token=${OTHER_TOKEN}`);
      await dialog.waitFor();
      assert.match(await dialog.textContent(), /a person[^]*another person/);
      assert.equal(await page.evaluate(() => document.activeElement.textContent), "Stay");
      assert.deepEqual(await violations(page), []);
      assert.ok(!page.url().includes("token"), page.url());
      await page.keyboard.press(key);
      await dialog.waitFor({ state: "hidden" });
      assert.equal(await token(), TOKEN);
    }
    // The same person's next token is taken as it comes.
    await page.goto(`${GATEWAY_URL}/console#token=${SHORT_TOKEN}`);
    await until("the next token", async () => (await token()) === SHORT_TOKEN);
    await page.goto(`${GATEWAY_URL}/console#token=${TOKEN}`);
    await until("the first token", async () => (await token()) === TOKEN);

    // In a tab that is loaded anew and remembers its session.
    await page.goto("about:blank");
    await page.goto(`${GATEWAY_URL}/console#token=${OTHER_TOKEN}`);
    await dialog.waitFor();
    assert.equal(await token(), TOKEN);
    await page.keyboard.press("Shift+Tab");
    await page.keyboard.press("Enter");
    await until("the other token", async () => (await token()) === OTHER_TOKEN);
    await open(page);
    assert.equal(await field(page, "Company id").inputValue(), "7");
  },

  /** The list: page by page, and searched. */
  async searches() {
    await saveMany();
    const page = await visit();
    const rows = page.locator("#list li");
    await page.getByText("20 connectors, and more").waitFor();
    await page.getByRole("button", { name: "Show more" }).click();
    await page.getByText("40 connectors, and more").waitFor();
    await page.reload();
    await page.getByText("20 connectors, and more").waitFor();
    await field(page, "Search").fill("CLIENT 43");
    await page.getByText("1 connector found").waitFor();
    await field(page, "Search").fill("");
    await page.getByText("45 connectors").waitFor();
    await page.getByLabel("Access token", { exact: true }).selectOption("true");
    await until("one row", async () => (await rows.count()) === 1);
    assert.match(await rows.first().textContent(), /pack 44/);
  },

  /** The list is read again while more of it is on its way. */
  async insists() {
    await saveMany();
    const [live, answer] = [gate(), gate()];
    let [streams, firstPages] = [0, 0];
    const page = await begin({
      async before(page) {
        await page.route("**/graphql/stream", async route => {
          streams += 1;
          // The first ends at once, as behind a proxy that has no patience.
          if (streams === 1) return route.fulfill({ contentType: "text/event-stream", body: ":\n\n" });
          await live.opened;
          return route.continue();
        });
        await page.route("**/graphql", async route => {
          const { variables } = route.request().postDataJSON();
          if (variables?.after) await answer.opened;
          return route.continue();
        });
        page.on("requestfinished", request => {
          const body = request.url().endsWith("/graphql") && request.postDataJSON();
          if (body && body.variables.first && !body.variables.after) firstPages += 1;
        });
      },
    });
    await until("the second stream", () => streams === 2 && firstPages === 2);
    await page.getByText("20 connectors, and more").waitFor();
    const before = firstPages;
    await page.getByRole("button", { name: "Show more" }).click();
    live.open();
    await until("the list to be read again", () => firstPages > before);
    answer.open();
    await page.getByText("40 connectors, and more").waitFor();
  },

  /** With the keyboard alone, in all widths and colours. */
  async reads() {
    const shown = { integrationPackInstanceId: "onboarding-eu-2026", processId: "sync-contacts", envId: "production", connectionId: "salesforce" };
    await saveElsewhere({ ...shown, connectionId: "workday", isTokenGenerated: true });
    await saveElsewhere(shown);
    await saveElsewhere({ ...shown, clientId: "3MVG9-demo-client", details: DETAILS.replace("read", "contacts.read offline_access") });
    for (const [width, scheme] of [[1440, "light"], [1440, "dark"], [360, "light"], [360, "dark"]]) {
      const size = { width, height: width === 360 ? 780 : 900 };
      const page = await visit({ size, scheme });
      await page.getByText("2 connectors").waitFor();
      assert.deepEqual(await violations(page), []);
      await page.getByRole("link", { name: /salesforce/ }).click();
      await page.getByText("Revision 2, saved").waitFor();
      await addParameter(page, "Access token parameters", 1, "grant_type", "client_credentials");
      await page.getByRole("button", { name: "Add a parameter: Access token parameters" }).click();
      await field(page, "Value: Access token parameters, row 2").fill("nameless");
      await page.getByRole("button", { name: "Save", exact: true }).click();
      await page.getByText("A parameter needs a name.").waitFor();
      assert.deepEqual(await violations(page), []);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(overflow <= 0, `${overflow} px too wide at ${width}`);
      if (SCREENSHOTS) {
        await page.getByRole("button", { name: "Remove: Access token parameters, row 2" }).click();
        await page.evaluate(() => scrollTo(0, 0));
        await page.screenshot({ path: `${SCREENSHOTS}/console-${width}-${scheme}.png` });
      }
      await page.evaluate(() => localStorage.clear());
      await page.context().close();
    }
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(`${GATEWAY_URL}/console`);
    await field(page, "Token").waitFor();
    assert.deepEqual(await violations(page), []);
    // From here on, no mouse.
    await page.keyboard.type(TOKEN);
    await page.keyboard.press("Enter");
    await page.getByText("Live", { exact: true }).waitFor();
    const reach = async wanted => {
      for (let presses = 0; presses < 80; presses += 1) {
        await page.keyboard.press("Tab");
        const name = await page.evaluate(() => {
          const at = document.activeElement;
          return at.getAttribute("aria-label") ?? at.labels?.[0]?.textContent.trim() ?? at.textContent.trim();
        });
        if (name.startsWith(wanted)) return;
      }
      throw new Error(`the keyboard does not reach ${wanted}`);
    };
    await page.getByText("2 connectors").waitFor();
    await reach("onboarding-eu-2026process sync-contacts · environment production · connection salesforce");
    await page.keyboard.press("Enter");
    await page.getByText("Revision 2, saved").waitFor();
    await reach("Company id");
    await page.keyboard.type("by keys");
    await reach("Add a parameter: Access token");
    await page.keyboard.press("Enter");
    await page.keyboard.type("name");
    await page.keyboard.press("Tab");
    await page.keyboard.type("value");
    await page.keyboard.press("Enter");
    await saved(page, 3);
    const details = JSON.parse((await stored(shown)).oauthConnectorDetails);
    assert.deepEqual(details.accessTokenParams, { name: "value" });
    assert.match(details.companyId, /by keys/);
  },
};

try {
  await scenarios[process.argv[2]]();
  const unexpected = said.filter(line => !/Failed to load resource|ERR_/.test(line));
  assert.deepEqual(unexpected, []);
  console.log("done");
} finally {
  await browser.close();
}
