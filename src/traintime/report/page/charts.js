// Draws the charts of the report. The data stands in #chart-data; colours come from style.css, so
// that the charts follow light, dark and print.
(() => {
  "use strict";

  const data = JSON.parse(document.getElementById("chart-data").textContent);
  const root = document.documentElement;
  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  const has = (column) => Boolean(column && column.some((value) => value !== null));
  const charts = [];
  let xKey = "elapsed_s";

  // ---- Writing numbers, as units.py does ----

  function duration(seconds) {
    if (seconds === null) return "?";
    if (seconds === 0) return "0 s";
    if (seconds < 0.9995) return `${+(seconds * 1e3).toPrecision(3)} ms`;
    if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
    if (seconds < 99.5) return `${seconds.toFixed(0)} s`;
    const pad = (number) => String(number).padStart(2, "0");
    const minutes = Math.round(seconds / 60);
    if (seconds < 3600) return `${Math.floor(Math.round(seconds) / 60)} m ${pad(Math.round(seconds) % 60)} s`;
    if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} m`;
    const hours = Math.round(seconds / 3600);
    return `${Math.floor(hours / 24)} d ${hours % 24} h`;
  }
  const percent = (share) => `${+(share * 100).toFixed(2)} %`;
  const number = (value) => String(+value.toPrecision(3));
  const epochs = (value) => `epoch ${+value.toFixed(2)}`;

  // One unit for a whole time axis: "0, 5, 10, 15 s" reads better than a unit that changes.
  function timeTicks(splits) {
    const top = splits[splits.length - 1];
    const [size, unit] = top < 1 ? [1e-3, "ms"] : top < 180 ? [1, "s"] : top < 10800 ? [60, "min"]
      : top < 259200 ? [3600, "h"] : [86400, "d"];
    return splits.map((split) => `${+(split / size).toPrecision(4)} ${unit}`);
  }
  // Steps that divide minutes, hours and days evenly.
  const TIME_STEPS = [0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600,
    7200, 10800, 21600, 43200, 86400, 172800, 432000, 864000, 1728000, 4320000];

  // ---- Plugins ----

  // A horizontal line with its name: a target, or the truth.
  function level(value, name, hue, dash, side, below = false) {
    const draw = (u) => {
      const { ctx, bbox } = u;
      const y = Math.round(u.valToPos(value, "y", true)) + 0.5;
      if (y < bbox.top || y > bbox.top + bbox.height) return;
      ctx.save();
      ctx.strokeStyle = ctx.fillStyle = colour(hue);
      ctx.lineWidth = 1.5 * devicePixelRatio;
      ctx.setLineDash(dash.map((length) => length * devicePixelRatio));
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      ctx.font = font(true);
      ctx.textAlign = side;
      const above = !below && y - bbox.top > 24 * devicePixelRatio;
      ctx.textBaseline = above ? "bottom" : "top";
      const place = [bbox.left + (side === "right" ? bbox.width : 0), y + (above ? -5 : 5) * devicePixelRatio];
      ctx.setLineDash([]);
      ctx.lineWidth = 5 * devicePixelRatio;
      ctx.strokeStyle = colour("paper"); // a halo, so that the name can be read over other lines
      ctx.strokeText(name, ...place);
      ctx.fillText(name, ...place);
      ctx.restore();
    };
    return { hooks: { draw } };
  }

  // Upright lines where the run was changed, each with what changed at its head.
  function changes() {
    const draw = (u) => {
      const { ctx, bbox } = u;
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
      ctx.clip();
      ctx.font = font(true);
      ctx.textBaseline = "top";
      data.marks.forEach((mark, index) => {
        if (mark[xKey] === null) return;
        const x = Math.round(u.valToPos(mark[xKey], "x", true)) + 0.5;
        const toLeft = x > bbox.left + bbox.width / 2;
        ctx.textAlign = toLeft ? "right" : "left";
        ctx.lineWidth = devicePixelRatio;
        ctx.strokeStyle = colour("muted");
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
        const place = [x + (toLeft ? -5 : 5) * devicePixelRatio, bbox.top + (3 + (index % 3) * 16) * devicePixelRatio];
        ctx.lineWidth = 5 * devicePixelRatio;
        ctx.strokeStyle = colour("paper");
        ctx.fillStyle = colour("muted");
        ctx.strokeText(mark.label, ...place);
        ctx.fillText(mark.label, ...place);
      });
      ctx.restore();
    };
    return { hooks: { draw } };
  }

  // The values under the pointer; rows(u, index) returns [title, [[colour, name, text], ...]].
  function tooltip(rows) {
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    const fill = (u, index) => {
      const [title, lines] = rows(u, index);
      tip.replaceChildren(element("b", title), ...lines.map(([hue, name, text]) => {
        const line = document.createElement("span");
        const key = element("i", "");
        key.style.background = colour(hue);
        const label = element("span", "");
        label.style.display = "block";
        label.append(key, name);
        line.append(label, element("em", text));
        return line;
      }));
    };
    const setCursor = (u) => {
      const { idx, left, top } = u.cursor;
      tip.hidden = idx === null || idx === undefined || left < 0;
      if (tip.hidden) return;
      fill(u, idx);
      const x = u.valToPos(u.data[0][idx], "x");
      const toLeft = x > u.over.clientWidth / 2;
      tip.style.left = toLeft ? "auto" : `${x + 14}px`;
      tip.style.right = toLeft ? `${u.over.clientWidth - x + 14}px` : "auto";
      tip.style.top = `${Math.max(0, Math.min(top - 20, u.over.clientHeight - tip.offsetHeight))}px`;
    };
    return { hooks: { init: (u) => u.over.append(tip), setCursor } };
  }

  // The arrow keys move the pointer from point to point.
  function keyboard(place) {
    let index = 0;
    let chart = null;
    place.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || !chart) return;
      event.preventDefault();
      index = Math.max(0, Math.min(chart.data[0].length - 1, index + step));
      chart.setCursor({ left: chart.valToPos(chart.data[0][index], "x"), top: 20 });
    });
    place.addEventListener("blur", () => chart?.setCursor({ left: -10, top: -10 }));
    return { hooks: { init: (u) => { chart = u; index = 0; } } };
  }

  function element(tag, text) {
    const made = document.createElement(tag);
    made.textContent = text;
    return made;
  }

  // ---- Charts ----

  const font = (scaled) => `${12 * (scaled ? devicePixelRatio : 1)}px system-ui, sans-serif`;

  function axis(values, more) {
    const line = { stroke: colour("rule"), width: 1 };
    return { stroke: colour("muted"), font: font(), grid: line, ticks: { show: false }, values, ...more };
  }
  const xAxis = (timed) => axis(timed ? (u, splits) => timeTicks(splits) : (u, splits) => splits.map(number), {
    grid: { show: false }, space: 64, gap: 8, size: 34, ...(timed && { incrs: TIME_STEPS }),
  });
  const yAxis = (values, more) => axis(values, { size: 58, gap: 8, space: 38, ...more });

  function line(hue, more) {
    return { stroke: colour(hue), width: 2, spanGaps: true, points: { show: false }, ...more };
  }
  const dots = (hue) => ({ show: true, size: 10, fill: colour(hue), stroke: colour("paper"), width: 2 });

  const POINTER = { y: false, drag: { x: false, y: false }, points: { size: 8 } };

  // Charts are made anew when colours or the horizontal axis change.
  function register(id, build) {
    const place = document.getElementById(id);
    if (!place) return;
    const keys = keyboard(place);
    const entry = { plot: null, place };
    entry.draw = () => {
      entry.plot?.destroy();
      const made = build();
      entry.place.closest("figure").hidden = !made;
      if (!made) return;
      const [options, columns] = made;
      options.plugins.push(keys);
      entry.plot = new uPlot({
        width: place.clientWidth, height: place.clientHeight, legend: { show: false },
        cursor: POINTER, padding: [14, 16, 0, 0],
        ...options,
      }, columns, place);
    };
    entry.draw();
    charts.push(entry);
    new ResizeObserver(() => entry.plot?.setSize({ width: place.clientWidth, height: place.clientHeight }))
      .observe(place);
  }

  // Both learning curves run from the start to the last record.
  function xScale() {
    const ends = [data.steps, data.epochs].map((records) => records[xKey][records[xKey].length - 1] ?? 0);
    return { time: false, range: () => [0, Math.max(...ends)] };
  }

  const when = (value) => (xKey === "epoch" ? epochs(value) : `after ${duration(value)}`);

  // Rows of a tooltip: of each series the value at the dot that uPlot shows, the nearest there is.
  const seriesRows = (names, show) => (u, index) => [
    when(u.data[0][index]),
    names.flatMap(([hue, name], i) => {
      const value = u.data[i + 1][u.cursor.idxs[i + 1] ?? index];
      return value === null || value === undefined ? [] : [[hue, name, show(value)]];
    }),
  ];

  function range(values, target, isLog) {
    const known = values.flat().filter((value) => value !== null && value !== undefined);
    if (target !== null) known.push(target);
    const [low, high] = [Math.min(...known), Math.max(...known)];
    if (isLog) return [low / 1.3, high * 1.15];
    const margin = (high - low || Math.abs(high) || 1) * 0.08;
    return [low - margin, high + margin];
  }

  function lossChart() {
    const { steps, epochs: ends } = data;
    if (!has(steps.loss) && !has(ends.validation_loss)) return null;
    const columns = uPlot.join([
      [steps[xKey], steps.loss, steps.smoothed],
      [ends[xKey], ends.validation_loss],
    ].filter(([xs]) => xs.length));
    if (!steps[xKey].length) columns.splice(1, 0, columns[0].map(() => null), columns[0].map(() => null));
    if (!ends[xKey].length) columns.push(columns[0].map(() => null));
    const target = data.target?.metric === "loss" ? data.target : null;
    const drawn = [columns[2], columns[3]];
    const [low, high] = range(drawn, target?.value ?? null, false);
    const lowest = Math.min(...drawn.flat().filter((value) => value !== null && value !== undefined));
    const isLog = lowest > 0 && high / lowest > 8;
    const limits = isLog ? range(drawn, target?.value ?? null, true) : [Math.max(0, low), high];
    const names = [["train", "this step"], ["train", "train, smoothed"], ["validation", "validation"]];
    return [{
      scales: { x: xScale(), y: { distr: isLog ? 3 : 1, range: () => limits } },
      axes: [xAxis(xKey === "elapsed_s"), yAxis((u, splits) => splits.map((v) => (v === null ? "" : number(v))), {
        ...(isLog && { splits: () => logSplits(...limits), filter: (u, splits) => splits }),
      })],
      series: [{}, line("train", { width: 1, alpha: 0.3 }), line("train"), line("validation", { points: dots("validation") })],
      plugins: [changes(), tooltip(seriesRows(names, number)), ...(target ? [level(target.value, target.label, "fact", [6, 5], "left")] : [])],
    }, columns];
  }

  // 1, 2 and 5 of each decade while that is few enough, else the decades.
  function logSplits(low, high) {
    const decades = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) decades.push(10 ** power);
    const all = decades.flatMap((decade) => [1, 2, 5].map((digit) => +(digit * decade).toPrecision(1)));
    const shown = all.filter((value) => value >= low && value <= high);
    return shown.length <= 9 ? shown : decades.filter((value) => value >= low && value <= high);
  }

  function accuracyChart() {
    const { epochs: ends } = data;
    if (!has(ends.validation_accuracy)) return null;
    const target = data.target?.metric === "accuracy" ? data.target : null;
    const [low, high] = range([ends.validation_accuracy], target?.value ?? null, false);
    const limits = [Math.max(0, low), Math.min(1, high)];
    return [{
      scales: { x: xScale(), y: { range: () => limits } },
      axes: [xAxis(xKey === "elapsed_s"), yAxis((u, splits) => splits.map(percent))],
      series: [{}, line("validation", { points: dots("validation") })],
      plugins: [
        changes(),
        tooltip(seriesRows([["validation", "validation accuracy"]], percent)),
        ...(target ? [level(target.value, target.label, "fact", [6, 5], "left")] : []),
      ],
    }, [ends[xKey], ends.validation_accuracy]];
  }

  function etaChart() {
    const { eta, truth_s: truth } = data;
    if (!eta.elapsed_s.length) return null;
    const end = truth ?? eta.elapsed_s[eta.elapsed_s.length - 1];
    const top = Math.max(truth ?? 0, ...eta.median);
    const highest = Math.min(Math.max(...eta.high, top), 2 * top) * 1.06;
    const rows = (u, index) => [`after ${duration(eta.elapsed_s[index])}`, [
      ["forecast", "estimate", duration(eta.median[index])],
      ["band", "interval", `${duration(eta.low[index])} – ${duration(eta.high[index])}`],
      ["muted", "still to go", duration(Math.max(0, eta.median[index] - eta.elapsed_s[index]))],
    ]];
    return [{
      cursor: { ...POINTER, points: { size: (u, series) => (series === 3 ? 8 : 0) } },
      scales: { x: { time: false, range: () => [0, end] }, y: { range: () => [0, highest] } },
      axes: [xAxis(true), yAxis((u, splits) => timeTicks(splits), { incrs: TIME_STEPS })],
      series: [{}, line("forecast", { width: 0 }), line("forecast", { width: 0 }), line("forecast", { width: 2.5 }),
        line("muted", { width: 1.5, dash: [2, 4] })],
      bands: [{ series: [1, 2], fill: colour("band") }],
      plugins: [tooltip(rows), ...(truth === null ? [] : [level(truth, `truth: ${duration(truth)}`, "fact", [], "right", eta.median[eta.median.length - 1] > truth)])],
    }, [eta.elapsed_s, eta.high, eta.low, eta.median, eta.elapsed_s]];
  }

  const redraw = () => charts.forEach((chart) => chart.draw());

  register("loss-chart", lossChart);
  register("accuracy-chart", accuracyChart);
  register("eta-chart", etaChart);

  const buttons = document.querySelectorAll(".switch button");
  buttons.forEach((button) => button.addEventListener("click", () => {
    xKey = button.dataset.x;
    buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
    redraw();
  }));
  document.querySelector(".switch")?.removeAttribute("hidden");

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("beforeprint", () => {
    root.classList.add("printing");
    document.querySelectorAll("details").forEach((details) => { details.open = true; });
    redraw();
  });
  addEventListener("afterprint", () => {
    root.classList.remove("printing");
    redraw();
  });
})();
