// Before and after: takes its pictures from the strip below it, so that the page holds each picture once.
for (const compare of document.querySelectorAll(".compare")) {
  const figures = document.getElementById(compare.dataset.strip).querySelectorAll("figure");
  const [frame, range, select] = [".frame", "input", "select"].map(name => compare.querySelector(name));
  const [name, score] = [".right", "output"].map(one => compare.querySelector(one));
  const [after, before] = ["after", "before"].map(side => Object.assign(new Image(), {className: side}));
  const input = figures[0].querySelector("img");
  const label = figure => figure.querySelector("b").textContent;
  before.src = input.src;
  before.alt = input.alt;
  frame.prepend(after, before);
  frame.style.aspectRatio = `${input.width} / ${input.height}`;
  frame.style.maxWidth = `${Math.max(input.getAttribute("width"), 320)}px`;
  const move = () => {
    frame.style.setProperty("--at", `${range.value}%`);
    const right = label(figures[select.value]);
    range.setAttribute("aria-valuetext", `${range.value} % ${label(figures[0])}, ${100 - range.value} % ${right}`);
  };
  const choose = () => {
    const figure = figures[select.value];
    after.src = figure.querySelector("img").src;
    after.alt = figure.querySelector("img").alt;
    name.textContent = label(figure);
    const told = [...figure.querySelectorAll("figcaption span")].map(one => one.textContent);
    score.textContent = told.filter(Boolean).join(", ");
    move();
  };
  range.addEventListener("input", move);
  select.addEventListener("change", choose);
  choose();
  compare.hidden = false;
}
// On a narrow screen a forest plot opens with its zero in sight, and with as many of its names as there is room for.
for (const zero of document.querySelectorAll("#forest-zero")) {
  const scroll = zero.closest(".scroll");
  const beyond = zero.getBoundingClientRect().right - scroll.getBoundingClientRect().left;
  scroll.scrollLeft = beyond - 0.8 * scroll.clientWidth;
}
