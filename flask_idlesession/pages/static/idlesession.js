// The idle warning: see docs/pages.rst.

const ROOT = document.documentElement;
const HIDDEN = "data-idlesession-hidden";
const PREFIX = "idlesession:";
const DRAFT = PREFIX + "draft:";
const DISMISSED = PREFIX + "dismissed";
const LONGEST_DRAFT = 3600000;
const ASK_AGAIN = 15000; // While the warning is open.
const MEANT = ["logged-out", "revoked"]; // Nothing is kept.

// One clock stands still in sleep, the other may be set.
const LONG_AGO = [-1e9, -1e9];
const now = () => [performance.now(), Date.now()];
const since = (then) => Math.max(...now().map((time, clock) => time - then[clock]));
const cover = (isOn) => ROOT.toggleAttribute(HIDDEN, isOn);
const tell = (name, detail) => document.dispatchEvent(new CustomEvent(PREFIX + name, { detail, cancelable: true }));

function attempt(act) {
  try {
    return act();
  } catch {
    return null;
  }
}

class Widget extends HTMLElement {
  connectedCallback() {
    this.stop = new AbortController();
    this.dialog = this.querySelector("dialog");
    this.over = this.asking = this.touching = this.warned = false;
    this.failures = 0;
    this.gesture = this.touched = this.active = this.asked = this.pressed = LONG_AGO;
    this.openChannel();
    this.note(JSON.parse(this.dataset.answer));
    never = new RegExp(this.dataset.never);
    settleDrafts(this.dataset, this.answer);
    if (!this.dialog) return; // No session.
    this.view = "";
    this.dialog.removeAttribute("open");
    this.dismissed = this.left() <= this.dataset.warnMs && storage[DISMISSED] === this.dataset.session;
    this.listen();
    restoreForms(this);
    // A page from a cache may be old. Turbo's has copies.
    const [page] = performance.getEntriesByType("navigation");
    const isCached = document.readyState !== "complete" && (page?.type === "back_forward" || page?.transferSize === 0);
    if (isCached || "used" in this.dataset) this.verify();
    this.dataset.used = "";
    this.tick();
  }

  disconnectedCallback() {
    this.stop.abort();
    clearTimeout(this.timer);
    this.channel.close();
    if (this.over) return;
    cover(false);
    if (this.dialog) this.close();
  }

  note(answer) {
    this.answer = answer;
    this.heard = answer.at ?? now();
  }

  left(name = "remaining_ms") {
    return Math.max(0, this.answer[name] - since(this.heard));
  }

  tell(name) {
    const left = { remaining_ms: this.left(), lifetime_remaining_ms: this.left("lifetime_remaining_ms") };
    return tell(name, { ...this.answer, ...left });
  }

  listen() {
    const { signal } = this.stop;
    const on = (target, type, handle) => target.addEventListener(type, handle, { signal, capture: true });
    for (const type of ["pointerdown", "keydown", "wheel", "touchstart", "pointermove", "scroll"]) {
      on(window, type, (event) => event.isTrusted && this.feel(type));
    }
    for (const type of ["visibilitychange", "resume", "online"]) on(window, type, () => document.hidden || this.wake());
    on(window, "pagehide", ({ persisted }) => {
      this.channel.close();
      if (persisted) cover(true);
    });
    on(window, "pageshow", ({ persisted }) => persisted && (this.openChannel(), this.verify()));
    on(document, PREFIX + "check", () => (restoreForms(this), this.ask()));
    on(document, "focusin", ({ target }) => target.type === "password" && secrets.add(target));
    on(document, "click", ({ isTrusted, target }) => {
      if (isTrusted) this.pressed = now();
      if (isTrusted && target.closest("[data-idlesession-extend]")) this.touch();
      if (isTrusted && target.closest("[data-idlesession-dismiss]")) this.dismiss();
    });
    on(document, "submit", (event) => this.submit(event));
    on(this.dialog, "keydown", (event) => event.key === "Escape" && this.escape(event));
    on(this.dialog, "cancel", (event) => this.escape(event));
    on(this.dialog, "close", () => this.view && this.dialog.showModal()); // A phone's "back" closes it.
  }

  feel(type) {
    // A script scrolls, too.
    const isUser = type === "scroll" ? since(this.gesture) < 1000 : type !== "pointermove";
    if (type !== "scroll") this.gesture = now();
    if (!isUser || this.warned || this.over) return;
    this.active = now();
    if (this.answer.can_extend && since(this.touched) >= this.dataset.touchMs) this.touch();
  }

  escape(event) {
    event.preventDefault();
    if (this.view === "warn") this.touch();
    if (this.view === "final") this.dismiss();
  }

  async submit(event) {
    const form = event.target;
    if (form.matches("[data-idlesession-keep]")) noteSent(form);
    if (!form.matches("[data-idlesession-log-out]")) return;
    revise(() => null);
    if (!this.contains(form)) return; // It leads on.
    event.preventDefault();
    const answer = await this.send(this.dataset.logOut, {});
    this.pressed = LONG_AGO;
    if (answer) this.end("logged-out");
    else this.say("unreachable");
  }

  dismiss() {
    this.dismissed = true;
    storage[DISMISSED] = this.dataset.session;
    this.close();
  }

  wake() {
    if (this.left()) this.ask();
    else this.verify();
  }

  verify() {
    cover(true);
    this.ask();
  }

  tick() {
    clearTimeout(this.timer);
    if (this.over || !this.isConnected) return;
    const left = this.left();
    const early = left - this.dataset.warnMs;
    if (!left) this.verify();
    else if (/warn|final/.test(this.view)) this.count(left);
    if (this.warned ? since(this.heard) > ASK_AGAIN : early <= 0) this.ask();
    // In small steps: a timer does not notice sleep.
    this.timer = setTimeout(() => this.tick(), Math.min(1000, early > 0 ? early : left % 1000 || 1000));
  }

  async ask() {
    if (this.asking || this.over || since(this.asked) < this.pause()) return;
    this.asking = true;
    this.asked = now();
    const answer = await this.send(`${this.dataset.status}?${new URLSearchParams({ user: this.dataset.user })}`);
    this.asking = false;
    this.hear(answer);
  }

  async touch(ago = 0) {
    if (this.touching || this.over) return;
    this.touching = true;
    this.touched = now();
    const answer = await this.send(this.dataset.touch, { user: this.dataset.user, ago_ms: Math.round(ago) });
    this.touching = false;
    if (answer) this.post("touched");
    if (answer || this.view !== "warn") return this.hear(answer, !!answer);
    this.say("unreachable");
    setTimeout(() => this.view === "warn" && this.touch(), this.pause());
  }

  pause() {
    return this.failures && Math.min(10000, 500 * 2 ** this.failures);
  }

  async send(url, fields) {
    const at = now();
    try {
      const response = await fetch(url, {
        method: fields ? "POST" : "GET",
        headers: { "X-CSRF-Token": this.querySelector("[name=csrf_token]").value },
        body: fields && new URLSearchParams(fields),
        signal: AbortSignal.timeout(8000),
        cache: "no-store",
        redirect: "error",
      });
      if (!response.ok) throw response;
      const answer = await response.json();
      this.failures = 0;
      return { ...answer, at };
    } catch {
      this.failures++;
      return null;
    }
  }

  hear(answer, wasTouch) {
    if (this.over || !this.isConnected) return;
    if (answer && answer.state !== "live") return this.end(answer.reason);
    if (answer) this.note(answer);
    const left = this.left();
    if (answer && left) cover(false);
    if (ROOT.hasAttribute(HIDDEN)) answer || this.open("offline");
    else if (left > this.dataset.warnMs) this.rest(wasTouch);
    else if (answer && this.answer.can_extend && !wasTouch && !this.warned && since(this.touched) > since(this.active) + 1000) {
      return this.touch(since(this.active)); // Not told yet.
    } else this.warn();
    this.tick();
  }

  rest(isNews) {
    isNews ||= this.warned;
    this.warned = this.dismissed = false;
    this.close();
    if (isNews) this.tell("extended");
  }

  warn() {
    if (this.dismissed && !this.answer.can_extend) return this.close();
    const isOurs = this.warned ? this.view : this.tell("warn"); // Or the page's.
    this.warned = true;
    if (isOurs) this.open(this.answer.can_extend ? "warn" : "final");
  }

  end(reason) {
    reason ??= this.left() ? "logged-out" : this.answer.can_extend ? "idle" : "lifetime";
    cover(true);
    if (since(this.pressed) < 2000) return setTimeout(() => this.ask(), 2000); // A click may lead on.
    this.over = true;
    if (MEANT.includes(reason)) revise(() => null);
    else keepDrafts(this.dataset.user);
    this.post("ended");
    if (!tell("ended", { reason })) return this.close(), cover(false);
    this.open("over");
    const next = location.pathname + location.search + location.hash;
    location.replace(`${this.dataset.ended}?${new URLSearchParams({ reason, next })}`);
  }

  // A message may be old: this tab was frozen.

  openChannel() {
    this.channel = new BroadcastChannel(PREFIX + this.dataset.status);
    this.channel.onmessage = ({ data: [news, user] }) => {
      if (news === "touched") this.touched = now();
      if (this.dialog && (news === "ended" || this.warned || user !== this.dataset.user)) this.ask();
    };
    this.post("opened");
  }

  post(news) {
    this.channel.postMessage([news, this.dataset.user]);
  }

  open(view) {
    if (view !== this.view) {
      this.view = view;
      for (const part of this.dialog.querySelectorAll("[data-views]")) part.hidden = !part.matches(`[data-views~=${view}]`);
      this.part("status").textContent = "";
      this.least = Math.ceil(this.left() / 1000);
      this.part("time").textContent = this.spoken = this.words(this.left());
      this.say(view === "offline" ? "unreachable" : "");
      this.usual ??= document.title;
      document.title = this.warning = this.dialog.querySelector(`h2 [data-views~=${view}]`).textContent;
      if (!this.dialog.open) {
        const field = (this.before = document.activeElement);
        this.range = [field.selectionStart, field.selectionEnd];
        this.dialog.showModal();
      }
      this.dialog.querySelector(`[data-views~=${view}][autofocus]`)?.focus();
    }
    if (/warn|final/.test(this.view)) this.count(this.left());
  }

  close() {
    this.view = "";
    if (this.dialog.open) {
      this.dialog.close();
      // Chromium would focus an inert page.
      this.before.blur();
      this.before.focus();
      if (this.range[0] != null) this.before.setSelectionRange(...this.range);
    }
    if (document.title === this.warning) document.title = this.usual;
    this.usual = null;
  }

  part(name) {
    return this.dialog.querySelector(`[data-part=${name}]`);
  }

  count(left) {
    const seconds = Math.ceil(left / 1000);
    this.part("clock").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    this.part("ring").setAttribute("stroke-dashoffset", Math.max(0, 100 - (100000 * seconds) / this.dataset.warnMs));
    const words = this.words(left);
    if (words !== this.spoken) this.part("status").textContent = this.dialog.dataset.announcement.replace("{time}", words);
    this.spoken = words;
  }

  /** In minutes, then in twenties of seconds. */
  words(left) {
    this.least = Math.min(Math.ceil(left / 20000) * 20, this.least);
    const [unit, count] = this.least < 60 ? ["second", this.least] : ["minute", Math.ceil(this.least / 60)];
    return new Intl.NumberFormat(this.lang, { style: "unit", unit, unitDisplay: "long" }).format(count);
  }

  say(name) {
    const text = name && this.dialog.dataset[name];
    if (this.part("alert").textContent !== text) this.part("alert").textContent = text;
  }
}

// Forms.

const secrets = new WeakSet(); // Now shown as text, perhaps.
const initial = new WeakMap(); // Values.
let never; // Names.

const markedForms = () => [...document.querySelectorAll("form[data-idlesession-keep]")];
const fieldsOf = (form) =>
  [...document.querySelectorAll("input, textarea, select")].filter(
    (field) => field.form === form && field.name && !/^(file|hidden|submit|button|image|reset)$/.test(field.type),
  );
const isSelect = (field) => field.matches("select");
const isChoice = (field) => isSelect(field) || /^(checkbox|radio)$/.test(field.type);
const isSecretName = (name) => never.test(name.replace(/(?<=[a-z0-9])(?=[A-Z])/g, "_").toLowerCase());

const isKept = (field) =>
  field.type !== "password" &&
  !/(^|\s)cc-|one-time-code|password/i.test(field.getAttribute("autocomplete")) &&
  !isSecretName(field.name) &&
  !isCard(field.value) &&
  !secrets.has(field);

/** Luhn's check. */
function isCard(text) {
  const digits = text.replace(/[ -]/g, "");
  const summands = [...digits].reverse().map((digit, place) => digit * (1 + (place % 2)));
  return /^[2-6]\d{12,18}$/.test(digits) && summands.reduce((sum, it) => sum + (it % 9 || (it && 9)), 0) % 10 === 0;
}

function valuesOf(field) {
  if (isSelect(field)) return [...field.selectedOptions].map((option) => option.value);
  return isChoice(field) && !field.checked ? [] : [field.value];
}

function fill(field, values) {
  const before = `${valuesOf(field)}`;
  // React has a setter of its own.
  const set = (name, value) => Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), name).set.call(field, value);
  if (isSelect(field)) for (const option of field.options) option.selected = values.includes(option.value);
  else if (isChoice(field)) set("checked", values.includes(field.value));
  else if (values.length) set("value", values.shift());
  for (const type of ["input", "change"]) field.dispatchEvent(new Event(type, { bubbles: true }));
  return before !== `${valuesOf(field)}`;
}

const storage = attempt(() => sessionStorage) ?? {};

const keyOf = (form) => DRAFT + location.pathname + location.search + "#" + (form.getAttribute("id") ?? markedForms().indexOf(form));
const forget = (form) => delete storage[keyOf(form)];

/** Return how many are left. */
const revise = (change) =>
  Object.keys(storage).filter((key) => {
    const draft = key.startsWith(DRAFT) && change(JSON.parse(storage[key]));
    if (draft) storage[key] = JSON.stringify(draft);
    if (draft === null) delete storage[key];
    return draft;
  }).length;

/** Keep what was typed. */
function keepDrafts(user) {
  revise((draft) => ({ ...draft, session: "" }));
  for (const form of user ? markedForms() : []) {
    const kept = fieldsOf(form).filter((field) => isKept(field));
    const fields = kept.flatMap((field) => valuesOf(field).map((value) => [field.name, value]));
    const draft = JSON.stringify({ user, session: "", at: Date.now(), fields });
    if (kept.some((field) => `${valuesOf(field)}` !== `${initial.get(field) ?? ""}`)) {
      attempt(() => (storage[keyOf(form)] = draft)); // It may be full.
    }
  }
}

/** Drop what is another user's, or old. */
function settleDrafts({ user, session }, { state, reason }) {
  const count = revise((draft) => {
    if (MEANT.includes(reason) || !(Math.abs(Date.now() - draft.at) < LONGEST_DRAFT)) return null;
    if (state === "ended") return { ...draft, session: "" };
    if (state === "none") return draft.session ? null : draft;
    if (!user) return draft; // A log-in page.
    return draft.user === user && (!draft.session || draft.session === session) ? { ...draft, session } : null;
  });
  for (const part of document.querySelectorAll("[data-idlesession-draft]")) {
    part.hidden = (part.dataset.idlesessionDraft === "kept") !== count > 0;
  }
}

function restoreForms(widget) {
  const { user, kept } = widget.dataset;
  const sent = JSON.parse(kept || null);
  for (const form of user ? markedForms() : []) {
    const fields = fieldsOf(form);
    for (const field of fields) initial.has(field) || initial.set(field, valuesOf(field));
    const { pathname, search } = new URL(form.getAttribute("action") ?? "", location);
    const isSent = sent?.path === pathname + search && storage[PREFIX + "dropped"] !== `${sent.at}`;
    const draft = isSent ? sent : JSON.parse(storage[keyOf(form)] ?? null);
    if (draft?.user !== user || form.querySelector(".idlesession-restored")) continue;
    const values = new Map();
    for (const [name, value] of draft.fields) values.set(name, [...(values.get(name) ?? []), value]);
    // A reload may have kept newer text.
    const isFree = (field) => isChoice(field) || !field.value || field.value === field.defaultValue;
    const filled = fields.filter((field) => isKept(field) && isFree(field) && fill(field, values.get(field.name) ?? []));
    if (!filled.length) continue;
    const note = widget.querySelector("template").content.firstElementChild.cloneNode(true);
    form.prepend(note);
    note.querySelector("button").onclick = () => {
      for (const field of filled) fill(field, [...initial.get(field)]);
      forget(form);
      storage[PREFIX + "dropped"] = `${sent?.at}`;
      note.remove();
      filled[0].focus();
    };
  }
}

/** Name the fields that only we know to be secret. */
function noteSent(form) {
  forget(form);
  const secret = fieldsOf(form).filter((field) => !isKept(field) && !isSecretName(field.name));
  const value = secret.map((field) => field.name).join("\n");
  if (value) form.append(Object.assign(document.createElement("input"), { type: "hidden", name: PREFIX + "secret", value }));
}

customElements.get("idlesession-widget") ?? customElements.define("idlesession-widget", Widget);
