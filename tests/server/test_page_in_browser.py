"""The page in a real Chromium: no violation that axe-core finds, light and dark; by keyboard alone; without scripts."""

import os
import shutil
import threading
import time
from io import StringIO

import pytest

from kgrec import train
from kgrec.graph import Graph
from kgrec.server.application import application
from kgrec.server.request_log import RequestLog
from kgrec.server.server_settings import ServerSettings
from kgrec.server.serving_process import listening
from kgrec.server.serving_state import ServingState
from tests.server.test_page import PAGES

CHROMIUM = os.environ.get("KGREC_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: the package chromium, or KGREC_CHROMIUM"),
]
sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'kgrec[browser]'")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe: pip install 'kgrec[browser]'")

FULL = "/page/list?user=u1&beside=ease&side=only&name=genre&op==&value=a&cap_name=of_brand&pin=i9&block=i3&k=4"
WHY = "/page/why?run=facts&user=u1&id=i7"
SEEN = (*(one for one in PAGES if one not in ("/", "/page/graph?type=item")), FULL, "/page/item?id=nope", WHY)

GROUND = "getComputedStyle(document.documentElement).backgroundColor"
LIGHT, DARK = "rgb(246, 247, 247)", "rgb(20, 24, 26)"


@pytest.fixture(scope="module")
def address(shop_runs, tmp_path_factory):
    """A server of three runs on loopback, of which one has paths of the graph."""
    import uvicorn

    paths = {"mf": shop_runs / "mf.run", "ease": shop_runs / "ease.run"}
    paths["facts"] = tmp_path_factory.mktemp("facts") / "facts.run"
    graph = Graph.load(shop_runs / "shop.graph")
    train("ease", graph, config={"l2": 1.0, "facts": 1.0}, split="last_n:1", out=paths["facts"])
    state = ServingState.load(paths, ServerSettings(watch_seconds=0), None, RequestLog(StringIO()))
    with listening("127.0.0.1", 0) as bound:
        server = uvicorn.Server(uvicorn.Config(application(state), log_config=None, ws="none", lifespan="on"))
        thread = threading.Thread(target=lambda: server.run(sockets=[bound]))
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.02)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def chromium():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] * (os.geteuid() == 0))
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, address):
    """A page, of which nothing may be refused by its policy, and no script may fail."""
    screen = {"width": 1280, "height": 900}
    context = chromium.new_context(base_url=address, viewport=screen, reduced_motion="reduce")
    context.set_default_timeout(120_000)  # where other work takes the processor
    found, troubles = context.new_page(), list[str]()
    found.on("pageerror", lambda error: troubles.append(str(error)))
    found.on("console", lambda one: troubles.append(one.text) if "Policy" in one.text else None)
    yield found
    context.close()
    assert not troubles


COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}


def violations(page, options: dict | None = None) -> list[str]:
    """What axe-core finds, by rule, with the places."""
    found = axe.Axe().run(page, options=options).response
    assert found["testEngine"]["name"] == "axe-core" and found["passes"]
    return [f"{one['id']}: {[node['target'] for node in one['nodes']]}" for one in found["violations"]]


def test_axe_finds_no_violation_light_and_dark(page):
    grounds = []
    for path in SEEN:
        page.emulate_media(color_scheme="light")
        page.goto(path)
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert (path, violations(page)) == (path, [])
        grounds.append(page.evaluate(GROUND))
        page.emulate_media(color_scheme="dark")
        assert (path, violations(page, COLOURS)) == (path, [])
        grounds.append(page.evaluate(GROUND))
    assert grounds == [LIGHT, DARK] * len(SEEN)


def test_axe_would_find_what_is_wrong(page):
    page.goto("/")
    page.evaluate("document.querySelector('label[for=q]').remove()")
    assert any(one.startswith("label") for one in violations(page))


def test_no_page_is_wider_than_a_narrow_screen(page):
    page.set_viewport_size({"width": 320, "height": 640})
    for path in SEEN:
        page.goto(path)
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert (path, page.evaluate("document.documentElement.scrollWidth")) == (path, 320)


FOCUSED = """() => {
  const one = document.activeElement, { outlineStyle, outlineWidth } = getComputedStyle(one);
  return [one.getAttribute("id") || one.textContent.trim(), outlineStyle !== "none" && outlineWidth !== "0px"];
}"""


def tab_to(page, wanted: str, most: int = 40) -> None:
    """Press Tab until an element of this id or text has the focus; all that it passes must be seen to have it."""
    for _ in range(most):
        page.keyboard.press("Tab")
        name, is_seen = page.evaluate(FOCUSED)
        assert is_seen, name
        if name == wanted:
            return
    raise AssertionError(f"{wanted!r} is not reached by Tab")


def test_the_keyboard_alone_leads_from_a_search_to_an_item_and_back(page):
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED) == ["Skip to the content", True]
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    tab_to(page, "q", 1)
    page.keyboard.type("u3")
    page.wait_for_selector("#found a")  # while somebody types, without Enter
    tab_to(page, "u3", 3)
    page.keyboard.press("Enter")
    page.wait_for_url("**/page/list?user=u3")
    first = page.locator(".places a").first.text_content()
    tab_to(page, first)
    page.keyboard.press("Enter")
    page.wait_for_url("**/page/item?**")
    assert page.locator("h1").text_content() == first
    tab_to(page, "Back to the list for u3")
    page.keyboard.press("Enter")
    page.wait_for_url("**/page/list?user=u3")
    tab_to(page, "Filters and rules")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("price")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.type("14")
    page.keyboard.press("Enter")
    page.wait_for_url("**name=price&op=%3C&value=14**")
    listed = page.eval_on_selector_all(".places .grow > a", "all => all.map(one => one.textContent)")
    assert listed and {*listed} <= {f"<b>Item</b> {n}" for n in range(4)}  # the price of item n is 10 + n


def test_a_user_is_made_by_clicking_and_typing(page):
    page.goto("/page/list?run=ease")
    page.locator(".tiles .button").first.click()
    page.fill("#q", "item</b> 11")
    page.locator("#found .button").first.click()
    page.wait_for_url("**item=i11**")
    assert page.locator(".chips li").count() == 2 and page.locator(".places li").count() > 3
    page.locator(".chips .drop").first.click()
    assert page.locator(".chips li").count() == 1


def test_filters_grow_and_offer_values(page):
    page.goto("/page/list?user=u1&run=ease")
    page.click("summary")
    page.click("#more-filters")
    row = page.locator(".filter").nth(1)
    assert page.evaluate("document.activeElement.name") == "name" and row.get_attribute("aria-label") == "Filter 2"
    page.keyboard.type("of_brand")
    page.wait_for_selector("#values-2 option", state="attached")
    values = row.locator("option[value^=brand]").evaluate_all("all => all.map(one => one.value)")
    assert values == ["brand0", "brand1", "brand2"] and page.locator("#values-1 option").count() == 0


def test_colours_are_chosen_and_stay(page):
    page.emulate_media(color_scheme="light")
    page.goto("/")
    page.select_option("#theme", "dark")
    assert page.evaluate(GROUND) == DARK
    page.goto("/page/graph")
    assert page.evaluate(GROUND) == DARK and page.input_value("#theme") == "dark"
    page.select_option("#theme", "")
    assert page.evaluate(GROUND) == LIGHT


def test_without_scripts_forms_and_links_do(chromium, address):
    context = chromium.new_context(base_url=address, java_script_enabled=False)
    context.set_default_timeout(120_000)
    page = context.new_page()
    page.goto("/")
    assert not page.is_visible("#theme")
    page.fill("#q", "u5")
    page.click("text=Search")
    page.click("#main >> text=u5")
    page.click("summary")
    page.fill("[name=k]", "3")
    page.fill("[name=name]", "genre")
    page.fill("[name=value]", "b")
    page.click("text=Apply")
    assert page.locator(".places li").count() == 3 and page.input_value("[name=value] >> nth=0") == "b"
    page.select_option("[name=beside]", "ease")
    page.click("text=Show")
    assert page.locator(".places").count() == 2
    context.close()
