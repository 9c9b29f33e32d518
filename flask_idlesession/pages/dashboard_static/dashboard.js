// Keeps the figures of the dashboard fresh, and draws its plots. Without it the page shows what it was loaded with.

(() => {
  "use strict";

  const board = document.getElementById("idlesession-board");
  if (!board || !board.querySelector("[data-plot]")) return;

  const OFTEN = 5000; // Milliseconds between two questions to the server.
  const SELDOM = 60000; // The longest that it waits while the server does not answer.
  const REASONS = ["evicted", "revoked", "logged-out", "lifetime", "idle"];

  const part = (name) => board.querySelector(`[data-part="${name}"]`);
  const text = (name) => board.querySelector(`template[data-text="${name}"]`).content.textContent;

  let wait = OFTEN;
  let timer = 0;
  let series = null;
  const plots = new Map();

  // Asking.

  async function ask() {
    clearTimeout(timer);
    let answer;
    try {
      answer = await fetch(location.pathname + (location.search.includes("hours=24") ? "?hours=24" : ""), {
        headers: { Accept: "application/json", "X-IdleSession-Passive": "1" },
        redirect: "error",
        cache: "no-store",
      });
      if (answer.status >= 500) throw new Error("The server failed.");
    } catch {
      wait = Math.min(2 * wait, SELDOM);
      tell("waiting");
      return later();
    }
    const isOurs = answer.ok && (answer.headers.get("Content-Type") || "").includes("json");
    if (!isOurs) return tell("refused"); // And asks no more: who may not see it is not to go on asking.
    show(await answer.json());
    wait = OFTEN;
    tell(null);
    later();
  }

  function later() {
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(ask, wait * (0.9 + Math.random() / 5));
  }

  function tell(name) {
    const place = part("stopped");
    const said = name ? text(name) : "";
    if (place.textContent !== said) place.textContent = said;
    place.hidden = !name;
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : ask()));

  // Showing.

  function show(told) {
    part("at").textContent = told.texts.at;
    for (const [name, [figure, hint]] of Object.entries(told.texts.tiles)) {
      board.querySelector(`[data-tile="${name}"]`).textContent = figure;
      board.querySelector(`[data-hint="${name}"]`).textContent = hint;
    }
    showAges(told);
    if (!told.series) return;
    series = told.series;
    showRows();
    draw();
  }

  function showAges(told) {
    const most = Math.max(1, ...told.idle_age.bars.map((bar) => bar.number));
    told.idle_age.bars.forEach((bar, place) => {
      const rect = board.querySelector(`[data-bar="${place}"]`);
      const height = (bar.number * 96) / most;
      rect.setAttribute("y", (100 - height).toFixed(2));
      rect.setAttribute("height", height.toFixed(2));
      board.querySelector(`[data-age="${place}"]`).textContent = bar.number;
    });
    const sentences = told.texts.shorter.map((sentence) => element("p", sentence));
    part("shorter").replaceChildren(...sentences);
  }

  function showRows() {
    const rows = times().map((at, place) => {
      const row = document.createElement("tr");
      const head = element("th", clock(at));
      head.scope = "row";
      row.append(head);
      const cells = [grouped(series.live[place]), grouped(series.created[place])];
      for (const reason of [...REASONS].reverse()) cells.push(grouped(series.ended[reason][place]));
      cells.push(milliseconds(series.p50[place]), milliseconds(series.p99[place]));
      row.append(...cells.map((cell) => element("td", cell)));
      return row;
    });
    part("rows").replaceChildren(...rows.reverse());
  }

  function element(name, content) {
    const made = document.createElement(name);
    made.textContent = content;
    return made;
  }

  const times = () => series.created.map((_, place) => series.begins_at + place * series.step);
  const clock = (at) => new Date(at * 1000).toISOString().slice(11, 16);
  const grouped = (value) => (value == null ? "–" : String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f"));

  function milliseconds(seconds) {
    if (seconds == null) return "–";
    const value = seconds * 1000;
    return value.toFixed(value >= 100 ? 0 : value >= 1 ? 1 : 2);
  }

  // Drawing.

  const colour = (name) => getComputedStyle(board).getPropertyValue(`--idlesession-${name}`).trim();
  const keyColour = (plot, key) =>
    getComputedStyle(board.querySelector(`[data-plot="${plot}"] [data-key="${key}"]`)).getPropertyValue("--idlesession-key").trim();

  /** The lines of a plot: what it draws of the series, bottom last. */
  const DRAWN = {
    live: () => [{ key: "live", values: series.live.length ? series.live : series.created.map(() => null), fills: true }],
    ends: () => {
      const stacked = [];
      let below = series.created.map(() => 0);
      for (const reason of [...REASONS].reverse()) {
        below = below.map((sum, place) => sum + series.ended[reason][place]);
        stacked.unshift({ key: reason, values: below, bars: true });
      }
      return [...stacked, { key: "created", values: series.created }];
    },
    store: () => [
      { key: "p99", values: series.p99.map(scaled), dash: [6, 3] },
      { key: "p50", values: series.p50.map(scaled) },
    ],
  };
  const scaled = (seconds) => (seconds == null ? null : seconds * 1000);

  function draw() {
    for (const place of board.querySelectorAll("[data-plot]")) {
      const name = place.dataset.plot;
      const lines = DRAWN[name]();
      const data = [times(), ...lines.map((line) => line.values)];
      const known = plots.get(name);
      if (known) known.setData(data);
      else make(place.querySelector("[data-canvas]"), name, lines, data);
    }
  }

  function make(canvas, name, lines, data) {
    canvas.hidden = false;
    canvas.parentElement.querySelector("[data-unplotted]").hidden = true;
    const axis = { stroke: colour("muted"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    const options = {
      width: Math.max(canvas.clientWidth, 200),
      height: canvas.clientHeight,
      legend: { show: false },
      cursor: { show: false },
      padding: [8, 8, 0, 0],
      scales: { x: { time: true }, y: { range: (_, least, most) => [0, Math.max(most * 1.1, name === "store" ? 0.1 : 4)] } },
      axes: [
        { ...axis, size: 28, values: (_, splits) => splits.map(clock), space: 60 },
        { ...axis, size: 56, values: (_, splits) => splits.map((each) => (name === "store" ? String(each) : Number.isInteger(each) ? grouped(each) : "")) },
      ],
      series: [{}, ...lines.map((line) => styled(name, line))],
    };
    plots.set(name, new uPlot(options, data, canvas));
  }

  function styled(plot, line) {
    const stroke = keyColour(plot, line.key);
    const made = { stroke, width: 2, points: { show: false }, spanGaps: false, dash: line.dash };
    if (line.bars) return { ...made, width: 0, fill: stroke, paths: uPlot.paths.bars({ size: [0.7, 24] }) };
    return line.fills ? { ...made, fill: faint(stroke) } : made;
  }

  const faint = (name) => (/^#[0-9a-f]{6}$/i.test(name) ? `${name}22` : "transparent");

  function drawAgain() {
    for (const plot of plots.values()) plot.destroy();
    plots.clear();
    if (series) draw();
  }

  for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) {
    matchMedia(query).addEventListener("change", drawAgain);
  }
  new MutationObserver(drawAgain).observe(document.documentElement, { attributeFilter: ["data-idlesession-theme"] });
  new ResizeObserver(() => {
    for (const [name, plot] of plots) {
      const width = board.querySelector(`[data-plot="${name}"] [data-canvas]`).clientWidth;
      if (width && Math.abs(width - plot.width) > 1) plot.setSize({ width, height: plot.height });
    }
  }).observe(board);

  ask();
})();
