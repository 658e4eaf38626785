// A classic script in the head: the chosen theme is set before the first paint.
(function () {
  try {
    const theme = localStorage.getItem("daskperiment.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // Storage may be forbidden; the page then follows the system.
  }
})();
