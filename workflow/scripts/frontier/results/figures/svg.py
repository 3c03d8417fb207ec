"""Draw figures as SVG that belongs to a page: its text, its colours in light and dark, its width."""

import io
import re

import matplotlib.pyplot as plt

from frontier.results.figures.canvas import BUDGET, COLOURS, GRID, INK, MUTED, STYLE, SURFACE

# Each colour of a figure and the CSS variable that a page draws it in.
VARIABLES = {colour: f"--{name}" for name, colour in COLOURS.items()} | {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    SURFACE: "--surface",
    BUDGET: "--budget",
}


def inline(draw, results, size: tuple[float, float], prefix: str, label: str) -> str:
    """Return what `draw(results, size)` draws as an <svg> element, its text as text.

    `prefix` makes its ids different from those of the page's other figures. `label` is what a screen reader says in its
    place; it must be plain text.
    """
    with plt.rc_context(STYLE | {"svg.fonttype": "none"}):
        figure = draw(results, size)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        plt.close(figure)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    view = re.search(r'viewBox="[^"]*"', text)[0]
    text = re.sub(r"<svg[^>]*>", f'<svg {view} role="img" aria-label="{label}">', text, count=1, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'href="#', f'href="#{prefix}-', text)
    text = text.replace("url(#", f"url(#{prefix}-")
    text = re.sub(r"font: ([0-9.]+px) [^;\"]*", r"font-size: \1", text)
    # A hundredth of a point is less than any screen shows, and the digits behind it are half of a page.
    text = re.sub(r'\b(d|x|y)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text
