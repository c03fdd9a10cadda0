"""The front end in headless Chromium, in a real TensorBoard and as an HTML file. No request may leave the machine."""

from __future__ import annotations

import itertools

import pytest
from browser_tab import Tab

from ttprof.dashboard import comparing, scaling, traces
from ttprof.report import html
from ttprof.trace.attribution import Attribution
from ttprof.trace.formats import kineto
from ttprof.units import format_bytes

PANES = ("suite", "case", "kernels", "timeline", "memory", "scaling", "compare", "history")


@pytest.fixture(autouse=True)
def no_errors(request):
    yield
    for name in ("dashboard", "file"):
        if name in request.fixturenames:
            request.getfixturevalue(name).quiet()


def attribution(run, case: int) -> Attribution:
    return Attribution(kineto.read(run.trace_file(run.read.cases[case].trials[-1])))


def test_the_suite_pane_lists_runs_and_cases_failures_first(dashboard, runs, cpu_run):
    dashboard.open("suite", run=cpu_run.id)
    assert dashboard.rows("runs").count() == len(runs)
    assert dashboard.rows("cases").count() == len(cpu_run.read)
    statuses = dashboard.rows("cases").locator("td:first-child").all_inner_texts()
    assert statuses == sorted(statuses, key=["ERROR", "FAIL", "INCONCLUSIVE", "PASS", "SKIP"].index)
    broken = dashboard.rows("runs").filter(has_text="broken")
    assert broken.count() == 1 and "not a ttprof result" in broken.inner_text()
    attention = dashboard.rows("cases").filter(has_text="Attention").first.inner_text()
    assert "≤ 10,000" in attention and "≤ 0.001" in attention


def test_cases_are_filtered_sorted_and_opened_with_the_keyboard(dashboard, cpu_run):
    dashboard.open("suite", run=cpu_run.id)
    dashboard.frame.get_by_label("Filter cases").fill("swept")
    assert dashboard.rows("cases").count() == 1
    dashboard.frame.get_by_label("Filter cases").fill("")
    chip = dashboard.frame.get_by_role("button", name="SKIP 1")
    chip.click()
    assert dashboard.rows("cases").all_inner_texts()[0].startswith("SKIP")
    chip.click()
    heading = dashboard.frame.get_by_role("button", name="case", exact=True)
    heading.focus()
    heading.press("Enter")
    names = dashboard.rows("cases").locator("td:nth-child(2)").all_inner_texts()
    assert names == sorted(names, key=str.casefold) and len(names) == len(cpu_run.read)
    dashboard.rows("cases").filter(has_text="skipped").focus()
    dashboard.page.keyboard.press("ArrowDown")
    dashboard.page.keyboard.press("Enter")
    dashboard.frame.wait_for_selector("main[data-ready='case'] h1:has-text('swept')")


def test_a_case_shows_its_reasons_and_its_samples(dashboard, cpu_run):
    pane = dashboard.open("case", run=cpu_run.id, case=0)
    failed = next(v for v in cpu_run.read.cases[0].verdicts if v.metric == "memory_mb")
    assert failed.reason in pane.inner_text()
    assert "relative error" in pane.text_content() and "limit 0.001" in pane.text_content()
    worst = cpu_run.read.cases[0].trials[0].worst
    (row,) = dashboard.rows("worst element").all_inner_texts()
    assert row.split("\t")[0] == f"{worst.path}{worst.index}"
    assert [float(text) for text in row.split("\t")[1:]] == pytest.approx([worst.value, worst.expected], abs=1e-3)
    numerics = pane.locator("section", has=dashboard.frame.get_by_role("heading", name="Numerics"))
    assert numerics.locator(".badge").inner_text() == "PASS" and "tolerance 0.001" in numerics.inner_text()
    measured = {m.name for m in cpu_run.read.cases[0].trials[0].measurements}
    assert dashboard.rows("measured").count() == len(measured)
    assert pane.locator(".main-svg .scatterlayer .point").count() == 12
    assert pane.locator(".main-svg .barlayer .point").count() > 0


def test_kernels_and_operators_of_a_recorded_trace(dashboard, cuda_run):
    for case, name in enumerate(("h100_bert_small", "mi300_resnet_3steps")):
        expected = traces.trace(attribution(cuda_run, case))
        pane = dashboard.open("kernels", run=cuda_run.id, case=case)
        assert cuda_run.read.cases[case].module_name == name
        assert dashboard.rows("Kernels").count() == len(expected.kernels)
        title = "Operators, forward" if expected.backward else "Operators"
        assert dashboard.rows(title).count() == len(expected.forward)
        assert dashboard.rows("Operators, backward").count() == len(expected.backward)
        assert pane.locator(".main-svg .treemaplayer .slice").count() > 20
    assert expected.backward


def test_the_timeline_can_be_searched_and_shows_launches(dashboard, cuda_run):
    expected = traces.lanes(attribution(cuda_run, 0), 0)
    pane = dashboard.open("timeline", run=cuda_run.id, case=0)
    timeline = pane.locator(".timeline[data-drawn]")
    assert int(timeline.get_attribute("data-events")) == len(expected.columns["start"])
    assert int(timeline.get_attribute("data-lanes")) == len(expected.lanes)
    first_kernel = expected.columns["kind"].index(expected.kinds.index("kernel"))
    kernel = expected.names[expected.columns["name"][first_kernel]]
    search = dashboard.frame.get_by_label("Search names")
    search.fill(kernel)
    hits = sum(kernel.lower() in expected.names[i].lower() for i in expected.columns["name"])
    assert pane.locator(".tools").inner_text().count(f"{hits} hits") == 1
    whole = timeline.get_attribute("data-window")
    search.press("Enter")
    dashboard.frame.wait_for_function("w => document.querySelector('.timeline').dataset.window !== w", arg=whole)
    assert timeline.get_attribute("data-selected") == kernel
    assert "launched by" in pane.locator(".detail").inner_text()
    pane.locator("canvas").press("0")
    dashboard.frame.wait_for_function("w => document.querySelector('.timeline').dataset.window === w", arg=whole)


def test_memory_marks_the_peak_and_lists_what_was_live(dashboard, cuda_run):
    expected = next(row.usage for row in traces.trace(attribution(cuda_run, 0)).memory if row.device == "CUDA 0")
    pane = dashboard.open("memory", run=cuda_run.id, case=0)
    assert pane.locator("dd").first.inner_text() == format_bytes(expected.peak.allocated_bytes)
    assert format_bytes(expected.peak.allocated_bytes) in pane.locator(".main-svg .textpoint").first.text_content()
    live = pane.locator("table[aria-label='live at the peak']").first.locator("tbody tr")
    assert live.count() == len(expected.peak.by_op) + (expected.peak.before_trace_bytes > 0)
    assert "reserved" in pane.locator(".main-svg .legend").first.text_content()


def test_memory_of_a_cpu_has_no_reserved_line(dashboard, cpu_run):
    pane = dashboard.open("memory", run=cpu_run.id, case=0)
    legend = pane.locator(".main-svg .legend").first.text_content()
    assert "allocated" in legend and "reserved" not in legend


def test_scaling_draws_every_law_and_states_the_exponent(dashboard, cpu_run):
    case = cpu_run.read["swept"]
    expected = scaling.scaling(case)
    pane = dashboard.open("scaling", run=cpu_run.id, case=1)
    assert pane.locator("dd").first.inner_text() == f"{case.scaling.exponent:.2f}"
    assert pane.locator(".main-svg .scatterlayer .js-line").count() == len(expected.curves) == 7
    assert dashboard.rows("laws").locator("td:last-child").all_inner_texts() == ["fitted"] + ["rejected"] * 6
    facts = pane.locator(".facts").inner_text()
    assert f"quadratic share\n{100 * expected.quadratic:.1f} %" in facts and expected.quadratic > 0.1
    assert f"crossover to quadratic\nseq_len {expected.crossover:.0f}" in facts
    assert pane.locator(".main-svg .scatterlayer .point").count() == 4
    pane.get_by_role("checkbox").uncheck()
    dashboard.frame.wait_for_function("document.querySelector('main .js-plotly-plot')?.layout.xaxis.type === 'linear'")


def test_a_pane_opens_on_a_case_with_data_for_it(dashboard, cpu_run):
    pane = dashboard.open("scaling", run=cpu_run.id)
    assert dashboard.frame.get_by_label("Case", exact=True).input_value() == "1"
    assert pane.locator(".main-svg .scatterlayer .point").count() == 4
    worst = next(i for i, case in enumerate(cpu_run.read) if case.status == "ERROR")
    for pane in ("case", "kernels", "timeline", "memory", "history"):
        dashboard.open(pane, run=cpu_run.id)
        assert dashboard.frame.get_by_label("Case", exact=True).input_value() == str(worst), pane


def test_a_pane_without_data_links_to_the_cases_that_have_some(dashboard, cpu_run):
    skipped = len(cpu_run.read) - 1
    pane = dashboard.open("memory", run=cpu_run.id, case=skipped)
    boxes = [button.bounding_box() for button in pane.get_by_role("button").all()]
    assert len(boxes) == skipped
    for one, other in itertools.combinations(boxes, 2):
        across = max(one["x"], other["x"]) - min(one["x"] + one["width"], other["x"] + other["width"])
        down = max(one["y"], other["y"]) - min(one["y"] + one["height"], other["y"] + other["height"])
        assert max(across, down) >= 5, "buttons do not touch"
    pane = dashboard.open("scaling", run=cpu_run.id, case=0)
    pane.get_by_role("button", name="swept").click()
    dashboard.frame.wait_for_selector("main[data-ready='scaling'] .js-plotly-plot")


def test_the_tab_key_reaches_tabs_headings_and_rows_and_the_focus_is_visible(dashboard, runs, cpu_run):
    dashboard.open("suite", run=cpu_run.id)
    dashboard.frame.get_by_role("tab", name="Suite").focus()
    reached = []
    for _ in range(60):
        dashboard.page.keyboard.press("Tab")
        tag, outline = dashboard.frame.evaluate(
            "() => { const at = document.activeElement; return ["
            "(at.closest('th') || at.closest('tr, input, summary, button'))?.tagName, "
            "getComputedStyle(at).outlineStyle]; }"
        )
        if tag is None:
            break
        assert outline != "none", tag
        reached.append(tag)
        if reached.count("TR") > len(runs):
            break
    assert {"TH", "TR", "INPUT", "BUTTON"} <= set(reached)


def background(tab) -> str:
    return tab.frame.evaluate("getComputedStyle(document.body).backgroundColor")


DARK = {"page": "rgb(20, 24, 29)", "text": "rgb(226, 231, 236)", "data": "rgb(110, 168, 242)"}
CHART_COLOURS = """dark => [...document.querySelectorAll('.main-svg *')].flatMap((element) => {
  const { fill, stroke } = getComputedStyle(element);
  return [fill, stroke].filter((colour) => dark.includes(colour));
})"""


def test_print_uses_the_light_theme_and_fits_the_page(dashboard, cpu_run, cuda_run):
    switch = dashboard.frame.get_by_role("button", name="Theme:")
    for run, pane in ((cpu_run, "suite"), (cpu_run, "case"), (cuda_run, "kernels"), (cuda_run, "timeline")):
        root = dashboard.open(pane, run=run.id)
        switch.click()
        switch.click()
        dashboard.frame.wait_for_selector(f"main[data-ready='{pane}']")
        dark = background(dashboard)
        dashboard.frame.evaluate("dispatchEvent(new Event('beforeprint'))")
        dashboard.page.emulate_media(media="print")
        assert (
            dashboard.frame.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)" != dark
        )
        assert dashboard.frame.evaluate("document.body.scrollWidth") <= 1000, pane
        assert root.locator("button:visible").count() == 0
        dark_colours = dashboard.frame.evaluate(CHART_COLOURS, list(DARK.values()))
        assert dark_colours == [], "charts are drawn in light colours"
        dashboard.page.emulate_media(media="screen")
        dashboard.frame.evaluate("dispatchEvent(new Event('afterprint'))")
        assert background(dashboard) == dark
        switch.click()


def test_numbers_with_many_digits_fit_a_printed_page(dashboard, cpu_run):
    root = dashboard.open("case", run=cpu_run.id, case=0)
    number = "/[0-9][0-9.,]*(e[+-]?[0-9]+)?/g"
    longest = (
        f"cells => cells.forEach(cell => {{ cell.textContent = cell.textContent.replace({number}, '0.000123'); }})"
    )
    root.locator("td.number").evaluate_all(longest)
    dashboard.frame.evaluate("dispatchEvent(new Event('beforeprint'))")
    dashboard.page.emulate_media(media="print")
    try:
        assert dashboard.frame.evaluate("document.body.scrollWidth") <= 1000
    finally:
        dashboard.page.emulate_media(media="screen")
        dashboard.frame.evaluate("dispatchEvent(new Event('afterprint'))")


def test_two_runs_are_compared_with_their_kernels(dashboard, runs, cuda_run):
    new = runs["cuda-2"]
    pane = dashboard.open("compare", run=new.id, case=0)
    expected = comparing.compare(cuda_run, new)
    changed = [row for row in expected.rows if row.change != "same"]
    assert changed and all(row.too_few_samples for row in changed), "a recorded trace is one sample"
    assert dashboard.rows("changes").count() == 0 and dashboard.rows("undecided").count() == len(changed)
    assert pane.locator("details.folded[open]").count() == 1, "there is nothing else to show"
    kinds = dashboard.rows("kernels compared").locator("td:first-child").all_inner_texts()
    assert {"added", "removed"} <= {text.lower() for text in kinds}
    assert pane.locator("svg.interval").count() == sum(row.ratio is not None for row in changed)


def test_metrics_with_too_few_samples_are_folded(dashboard, runs, cpu_run):
    other = next(run for name, run in runs.items() if name.startswith("<img"))
    changed = [row for row in comparing.compare(other, cpu_run).rows if row.change != "same"]
    few = [row for row in changed if row.too_few_samples]
    pane = dashboard.open("compare", run=cpu_run.id, base=other.id)
    fold = pane.locator("details.folded")
    assert fold.locator("summary").inner_text() == f"{len(few)} undecided: too few samples" and len(few) > 4
    assert dashboard.rows("undecided").count() == len(few)
    opened = len(few) == len(changed)  # on a busy machine every change may be undecided
    assert (fold.get_attribute("open") is not None, dashboard.rows("undecided").first.is_visible()) == (opened, opened)
    if not opened:
        fold.locator("summary").click()
    assert dashboard.rows("undecided").first.is_visible()
    pane.get_by_role("button", name="undecided").click()
    assert fold.count() == 0


def test_an_nsight_run_names_its_profiler_and_what_that_does_not_record(dashboard, runs):
    run = runs["nsight"]
    assert "recorded by\nNsight Systems" in dashboard.open("suite", run=run.id).inner_text()
    pane = dashboard.open("kernels", run=run.id)
    assert "Recorded by Nsight Systems, which records no operators: use backend='torch'" in pane.inner_text()
    assert dashboard.rows("Kernels").count() == 2 and dashboard.rows("modules").count() == 2
    assert "Nsight Systems, which records no allocations" in dashboard.open("memory", run=run.id).inner_text()
    timeline = dashboard.open("timeline", run=run.id).locator(".timeline[data-drawn]")
    assert timeline.get_attribute("data-lanes") == "2"


def point_at(tab, document, event: int) -> None:
    """Move the pointer to the middle of an event of a timeline that is not zoomed."""
    column = {name: values[event] for name, values in document.columns.items()}
    above = sum(18 + 16 * lane.rows + 6 for lane in document.lanes[: column["lane"]])
    canvas = tab.frame.locator("canvas")
    first, last = map(int, tab.frame.locator(".timeline").get_attribute("data-window").split())
    middle = column["start"] + column["dur"] / 2
    x = (middle - first) / (last - first) * canvas.bounding_box()["width"]
    canvas.hover(position={"x": x, "y": 22 + above + 18 + 16 * column["row"] + 7})


def test_the_tooltip_describes_the_launch_and_an_arrow_is_drawn(dashboard, runs):
    run = runs["nsight"]
    expected = traces.lanes(attribution(run, 0), 0)
    pane = dashboard.open("timeline", run=run.id, iteration=0)
    timeline = pane.locator(".timeline[data-drawn]")
    pixels = "document.querySelector('canvas').toDataURL()"
    bare = dashboard.frame.evaluate(pixels)
    kernel = expected.columns["kind"].index(expected.kinds.index("kernel"))
    for event, text in (
        (kernel, "launched by cudaLaunchKernel_v7000, 20.00 µs earlier"),
        (expected.columns["launch"][kernel], "launched gemm, which started 20.00 µs later"),
    ):
        point_at(dashboard, expected, event)
        dashboard.frame.wait_for_selector(".timeline[data-links='1']")
        assert text in pane.locator(".tip").inner_text()
        assert dashboard.frame.evaluate(pixels) != bare
        assert timeline.get_attribute("data-selected") is None
    point_at(dashboard, expected, expected.columns["kind"].index(expected.kinds.index("annotation")))
    dashboard.frame.wait_for_selector(".timeline[data-links='0']")
    assert dashboard.frame.evaluate(pixels) == bare and "launched" not in pane.locator(".tip").inner_text()


def test_the_history_of_a_metric(dashboard, cpu_run):
    pane = dashboard.open("history", run=cpu_run.id, case=0, metric="memory_mb")
    assert pane.locator(".chart").get_attribute("data-points") == "2"
    assert pane.locator(".main-svg .scatterlayer .point").count() >= 2
    assert dashboard.rows("runs").count() == 2


def test_every_pane_shows_a_hostile_name_as_text(dashboard, cpu_run):
    index = next(i for i, case in enumerate(cpu_run.read) if case.module_name.startswith("<script>"))
    for pane in PANES:
        text = dashboard.open(pane, run=cpu_run.id, case=index).inner_text()
        assert text.strip(), pane
        assert dashboard.frame.locator("main img, main script").count() == 0
    assert "<script>window.hacked=1</script>" in dashboard.open("case", run=cpu_run.id, case=index).inner_text()


def test_a_broken_run_and_a_case_without_a_trace_say_so(dashboard, runs, cpu_run):
    skipped = len(cpu_run.read) - 1
    assert "Nothing was measured" in dashboard.open("case", run=cpu_run.id, case=skipped).inner_text()
    assert "not a ttprof result" in dashboard.open("case", run=runs["broken"].id).inner_text()
    for pane in ("kernels", "timeline", "memory"):
        dashboard.open(pane, run=cpu_run.id, case=skipped)
        assert dashboard.frame.locator("main .problem, main .empty").count() == 1


def test_the_theme_is_switched(dashboard):
    dashboard.open("suite")
    light = background(dashboard)
    switch = dashboard.frame.get_by_role("button", name="Theme:")
    switch.click()
    switch.click()
    assert background(dashboard) != light
    switch.click()
    assert background(dashboard) == light


@pytest.fixture(scope="module")
def file(browser, runs, tmp_path_factory):
    results = [run.read for run in runs.values() if run.result is not None]
    path = html.write(results, tmp_path_factory.mktemp("report") / "report.html")
    tab = Tab(browser, lambda url: url.scheme == "file" or url.scheme == "data")
    tab.page.goto(path.as_uri())
    tab.frame.wait_for_selector("main[data-ready]")
    tab.path = path
    yield tab
    tab.close()


def test_the_html_report_opens_from_a_file_and_loads_nothing(file, runs):
    assert file.path.stat().st_size < 6_000_000
    assert file.rows("runs").count() == len(runs) - 1
    for run in runs.values():
        hostile = [i for i, case in enumerate(run.result or ()) if case.module_name.startswith("<script>")]
        for case in (0, *hostile):
            for pane in PANES:
                assert file.open(pane, run=run.id, case=case).inner_text().strip()
                assert file.frame.locator("main img, main script").count() == 0
    assert [url for url in file.requests if not url.startswith("data:")] == [file.path.as_uri()]


def test_the_html_report_draws_what_the_tab_draws(file, cuda_run):
    expected = traces.trace(attribution(cuda_run, 0))
    file.open("kernels", run=cuda_run.id, case=0)
    assert file.rows("Kernels").count() == len(expected.kernels)
    pane = file.open("timeline", run=cuda_run.id, case=0)
    assert int(pane.locator(".timeline[data-drawn]").get_attribute("data-events")) > 100
