// Counts down the session's last seconds, and hides the page's content when they are over.
//
// The server decides; this script knows only how many seconds were left when it last asked. It asks when
// it is about to say anything, and now and then between: the user may be active in another window.

const ASK_EVERY = 10_000; // Milliseconds.

const bar = document.getElementById("countdown");
const content = document.getElementById("content");
const button = bar.querySelector("button");
const { statusUrl, stayUrl, loginUrl } = bar.dataset;
const notice = Number(bar.dataset.notice);

let endsBy; // "idle" or "lifetime".
let deadline; // On two clocks: one may stand still while the machine sleeps, the other may be set.
let lastAsked = 0;
let isAsking = false;
let isUrgent = false;

function hear(answer) {
  if (!answer.live) return leave();
  endsBy = answer.ends_by;
  deadline = { steady: performance.now() + answer.seconds_left * 1000, wall: Date.now() + answer.seconds_left * 1000 };
  document.getElementById("over").hidden = true;
  content.hidden = false;
  show();
}

function secondsLeft() {
  return Math.max(0, Math.min(deadline.steady - performance.now(), deadline.wall - Date.now()) / 1000);
}

async function ask() {
  if (isAsking) return;
  isAsking = true;
  await send(statusUrl, "GET");
  isAsking = false;
}

async function send(url, method) {
  lastAsked = performance.now();
  const answer = await fetch(url, { method, cache: "no-store", signal: AbortSignal.timeout(5000) })
    .then((response) => (response.ok ? response.json() : null))
    .catch(() => null);
  if (answer) hear(answer);
  // Without an answer the time goes on running down, and ends here when it ends there.
  else if (secondsLeft() === 0) document.getElementById("over").hidden = false;
}

function leave() {
  const reason = secondsLeft() < 1 ? endsBy : "early";
  content.hidden = bar.hidden = true;
  location.replace(`${loginUrl}?ended=${reason}`);
}

function show() {
  const left = secondsLeft();
  for (const place of document.querySelectorAll(".time-left")) place.textContent = onClock(left);
  for (const meter of document.querySelectorAll("progress")) meter.value = left;

  const wasUrgent = isUrgent;
  isUrgent = left <= notice;
  bar.hidden = !isUrgent || left === 0;
  button.hidden = endsBy === "lifetime"; // Nothing prolongs that.
  // Said once: a screen reader that read out every second would read nothing else.
  if (isUrgent !== wasUrgent) {
    document.getElementById("announcement").textContent = isUrgent ? `${bar.querySelector("p").textContent}.` : "";
  }
  return isUrgent && !wasUrgent;
}

function tick() {
  const isNews = show();
  const isOver = secondsLeft() === 0;
  if (isOver) content.hidden = true; // First hide, then ask: somebody else may be looking.
  const since = performance.now() - lastAsked;
  if (isNews || since >= (isOver ? 1000 : ASK_EVERY)) ask();
}

// Does the same as on_clock in durations.py.
function onClock(seconds) {
  const whole = Math.ceil(seconds);
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  const rest = String(whole % 60).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

// The bar, and with it the button, is about to vanish: give the focus back.
let focusBefore = null;
button.addEventListener("focus", (event) => (focusBefore = event.relatedTarget));
button.addEventListener("click", async () => {
  await send(stayUrl, "POST");
  if (bar.hidden) (focusBefore ?? content).focus({ preventScroll: true });
});

// A page that was put aside (a sleeping machine, another tab, the Back button) has missed things.
document.addEventListener("visibilitychange", () => document.hidden || (tick(), ask()));
addEventListener("pageshow", (event) => event.persisted && (tick(), ask()));

hear({ live: true, seconds_left: Number(bar.dataset.secondsLeft), ends_by: bar.dataset.endsBy });
lastAsked = performance.now();
setInterval(tick, 250);
