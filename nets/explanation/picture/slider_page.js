// One function: key is the id of the fragment, steps is what the drawing and the caption show at each position of the slider.
(key, steps) => {
  const root = document.getElementById(key);
  const slider = root.querySelector("input"), caption = root.querySelector(".caption"), count = root.querySelector(".step");
  const write = (group, name, text) => { const one = group.querySelector("." + name); if (one) one.textContent = text; };
  const show = () => {
    const step = Number(slider.value), state = steps[step];
    state.nodes.forEach(([name, fill, gradient, sum], number) => {
      const group = root.querySelector(`[data-node="${number}"]`);
      group.setAttribute("class", name);
      group.querySelector(".box").setAttribute("fill", fill);
      write(group, "gradient", gradient);
      write(group, "sum", sum);
    });
    state.edges.forEach(([name, colour], number) => {
      const line = root.querySelector(`[data-edge="${number}"]`);
      line.setAttribute("class", name);
      line.querySelector(".line").style.stroke = colour;
      line.querySelector(".tip").setAttribute("fill", colour);
      root.querySelector(`[data-label="${number}"]`).setAttribute("class", name);
    });
    caption.innerHTML = state.caption;
    count.textContent = `step ${step} of ${steps.length - 1}`;
  };
  const move = by => { slider.value = Number(slider.value) + by; show(); };
  slider.addEventListener("input", show);
  root.querySelector(".back").addEventListener("click", () => move(-1));
  root.querySelector(".on").addEventListener("click", () => move(1));
  slider.value = 0;
  show();
}
