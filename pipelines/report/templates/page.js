"use strict";
(() => {
  const root = document.documentElement;
  const themes = ["auto", "light", "dark"];
  const remembered = () => { try { return localStorage.getItem("engraph-theme"); } catch { return null; } };
  const remember = (theme) => { try { localStorage.setItem("engraph-theme", theme); } catch { /* a file may have no storage */ } };
  const button = document.querySelector(".theme");
  const apply = (theme) => {
    if (theme === "auto") root.removeAttribute("data-theme"); else root.dataset.theme = theme;
    button.textContent = { auto: "◐ Auto", light: "☀ Light", dark: "☾ Dark" }[theme];
    button.setAttribute("aria-label", `Colours: ${theme}. Change`);
    button.dataset.now = theme;
  };
  if (button) {
    button.hidden = false;
    apply(themes.includes(remembered()) ? remembered() : "auto");
    button.addEventListener("click", () => {
      const next = themes[(themes.indexOf(button.dataset.now) + 1) % themes.length];
      apply(next);
      remember(next);
    });
  }

  const links = new Map([...document.querySelectorAll(".bar nav a[href^='#']")].map((a) => [a.hash.slice(1), a]));
  if (links.size && "IntersectionObserver" in window) {
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        for (const a of links.values()) a.removeAttribute("aria-current");
        links.get(entry.target.id)?.setAttribute("aria-current", "true");
      }
    }, { rootMargin: "-20% 0px -70% 0px" });
    for (const id of links.keys()) { const s = document.getElementById(id); if (s) seen.observe(s); }
  }

  const chooser = document.getElementById("entity");
  if (chooser) {
    const stories = [...document.querySelectorAll("[data-entity]")];
    const show = () => stories.forEach((s) => { s.hidden = s.dataset.entity !== chooser.value; });
    chooser.closest(".controls").hidden = false;
    chooser.addEventListener("change", show);
    show();
  }

  const words = document.getElementById("words");
  if (words) {
    const granularity = document.getElementById("granularity");
    const said = document.getElementById("found");
    const rows = [...document.querySelectorAll("#units tbody tr")];
    const texts = rows.map((row) => row.textContent.toLowerCase());
    const more = document.getElementById("more");
    const page = 20;
    let limit = page;
    const filter = () => {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      let fitting = 0;
      rows.forEach((row, i) => {
        const fits = (!granularity.value || row.dataset.granularity === granularity.value) && wanted.every((w) => texts[i].includes(w));
        fitting += fits;
        row.hidden = !fits || fitting > limit;
      });
      said.textContent = fitting === rows.length ? `${rows.length} units` : `${fitting} of ${rows.length} units`;
      more.hidden = fitting <= limit;
    };
    const again = () => { limit = page; filter(); };
    words.closest(".controls").hidden = false;
    words.addEventListener("input", again);
    granularity.addEventListener("change", again);
    more.addEventListener("click", () => { limit += page; filter(); });
    filter();
  }
})();
