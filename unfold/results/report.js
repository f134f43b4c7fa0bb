for (const figure of document.querySelectorAll("[data-figure]")) {
  const compare = figure.querySelector(".compare");
  const before = figure.querySelector(".before");
  const tag = figure.querySelector(".tag.left");
  const views = figure.querySelectorAll("template[data-view]");
  const choose = figure.querySelector("[data-choose]");
  figure.querySelector("[data-slide]").addEventListener("input", (event) => {
    compare.style.setProperty("--cut", event.target.value + "%");
  });
  choose.addEventListener("change", () => {
    if (before) before.src = views[choose.selectedIndex].dataset.view;
    tag.textContent = choose.options[choose.selectedIndex].textContent;
  });
  figure.querySelector("[data-zoom]").addEventListener("change", (event) => {
    figure.style.setProperty("--zoom", event.target.value);
  });
  for (const area of figure.querySelectorAll(".compare, .still")) {
    area.addEventListener("pointermove", (event) => {
      const box = area.getBoundingClientRect();
      figure.style.setProperty("--x", (100 * (event.clientX - box.left)) / box.width + "%");
      figure.style.setProperty("--y", (100 * (event.clientY - box.top)) / box.height + "%");
    });
  }
}
