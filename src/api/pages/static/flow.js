// Draws the volume over time with Chart.js, from the bars that the server drew: those stay for who
// has no scripts. With the keyboard it is a slider over the bars.
const drawn = document.getElementById("drawn");
const plot = document.getElementById("plot");
const bars = drawn ? [...drawn.querySelectorAll("a")].map((link) => ({
  href: link.getAttribute("href"),
  start: link.dataset.start,
  opened: Number(link.dataset.opened),
  others: Number(link.dataset.changes) - Number(link.dataset.opened),
})) : [];
const number = new Intl.NumberFormat("en-US");
const looks = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const all = (bar) => bar.opened + bar.others;

function say(bar) {
  return `${bar.start}: ${number.format(all(bar))} changes, ${number.format(bar.opened)} opened`;
}

// What is drawn has the colours of the style sheets, light or dark.
function colours() {
  return {
    opened: { backgroundColor: looks("--accent") },
    others: { backgroundColor: looks("--line-strong"), hoverBackgroundColor: looks("--quiet") },
    ticks: { color: looks("--quiet") },
    grid: { color: looks("--line") },
    legend: { color: looks("--ink") },
    tooltip: {
      backgroundColor: looks("--ink"),
      titleColor: looks("--card"),
      bodyColor: looks("--card"),
      footerColor: looks("--card"),
    },
  };
}

function options(colour) {
  const bare = { border: { display: false }, stacked: true };
  return {
    animation: false,
    maintainAspectRatio: false,
    interaction: { mode: "index", intersect: false },
    onClick: (_, [one]) => one && location.assign(bars[one.index].href),
    onHover: ({ native }, found) => { native.target.style.cursor = found.length ? "pointer" : ""; },
    plugins: {
      legend: { align: "end", labels: { boxWidth: 12, boxHeight: 12, padding: 16, ...colour.legend } },
      tooltip: {
        padding: 10,
        callbacks: { footer: ([one]) => `${number.format(all(bars[one.dataIndex]))} together` },
        ...colour.tooltip,
      },
    },
    scales: {
      x: { ...bare, grid: { display: false }, ticks: { maxRotation: 0, autoSkipPadding: 24, ...colour.ticks } },
      y: { ...bare, grid: colour.grid, ticks: { maxTicksLimit: 5, precision: 0, ...colour.ticks } },
    },
  };
}

function draw() {
  Chart.defaults.font.family = looks("--font");
  const colour = colours();
  const bar = { maxBarThickness: 40, categoryPercentage: 0.9, barPercentage: 0.95 };
  const chart = new Chart(plot.querySelector("canvas"), {
    type: "bar",
    data: {
      labels: bars.map((one) => (plot.dataset.unit === "month" ? one.start.slice(0, 7) : one.start)),
      datasets: [
        { label: "Opened a booking", data: bars.map((one) => one.opened), ...bar, ...colour.opened },
        { label: "Other changes", data: bars.map((one) => one.others), ...bar, ...colour.others },
      ],
    },
    options: options(colour),
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    const other = colours();
    chart.options = options(other);
    Object.assign(chart.data.datasets[0], other.opened);
    Object.assign(chart.data.datasets[1], other.others);
    chart.update("none");
  });
  return chart;
}

// A slider over the bars: each is told and shown, Enter goes to its bookings.
function steer(chart) {
  const last = bars.length - 1;
  let at = last;

  function mark(active) {
    chart.setActiveElements(active);
    chart.tooltip.setActiveElements(active, { x: 0, y: 0 });
    chart.update("none");
  }

  function go(index) {
    at = Math.min(Math.max(index, 0), last);
    plot.setAttribute("aria-valuenow", String(at));
    plot.setAttribute("aria-valuetext", say(bars[at]));
  }

  const show = () => mark([0, 1].map((datasetIndex) => ({ datasetIndex, index: at })));
  const steps = {
    ArrowLeft: () => at - 1,
    ArrowDown: () => at - 1,
    ArrowRight: () => at + 1,
    ArrowUp: () => at + 1,
    Home: () => 0,
    End: () => last,
  };
  plot.setAttribute("role", "slider");
  plot.setAttribute("tabindex", "0");
  plot.setAttribute("aria-label", `Changes a ${plot.dataset.unit}`);
  plot.setAttribute("aria-valuemin", "0");
  plot.setAttribute("aria-valuemax", String(last));
  go(last);
  plot.addEventListener("focus", () => plot.matches(":focus-visible") && show());
  plot.addEventListener("blur", () => mark([]));
  plot.addEventListener("keydown", (event) => {
    if (event.key === "Enter") location.assign(bars[at].href);
    if (!steps[event.key]) return;
    event.preventDefault();
    go(steps[event.key]());
    show();
  });
}

if (bars.length && window.Chart) {
  drawn.hidden = true;
  plot.hidden = false;
  document.getElementById("keys").hidden = false;
  steer(draw());
}
