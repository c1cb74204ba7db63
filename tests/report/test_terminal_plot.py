import itertools
import math

from traintime.report.terminal_plot import Chart, Line, draw, smooth, sparkline


def plain(chart: Chart, width: int = 30, height: int = 6) -> list[str]:
    lines = draw(chart, width, height)
    assert len(lines) == height
    assert all(line.cell_len <= width for line in lines)
    return [line.plain for line in lines]


def chart(points: list[tuple[float, float]], **changes: object) -> Chart:
    return Chart([Line(points, "cyan")], "{:.3g}".format, **changes)  # type: ignore[arg-type]


def test_rising_line_goes_from_the_lower_left_to_the_upper_right() -> None:
    assert plain(chart([(x, float(x)) for x in range(11)]), width=14) == [
        "10.4 ┤      ⢀⠔",
        "     │     ⡔⠁ ",
        "   5 ┤   ⡠⠌   ",
        "     │ ⢀⠎     ",
        "-0.4 ┤⠔⠊      ",
        "     └────────",
    ]


def _rises(lines: list[str]) -> bool:
    drawn = [line.split("┤" if "┤" in line else "│")[1] for line in lines[:-1]]
    firsts = [len(row) - len(row.lstrip()) for row in drawn]
    return all(lower < upper for upper, lower in itertools.pairwise(firsts))


def test_axis_says_where_it_ends_and_what_it_counts() -> None:
    axis = plain(chart([(1, 1.0), (1234, 2.0)]))[-1]
    assert axis.replace("─", "") == "     └0  epoch  1,234"


def test_flat_line_is_one_row_high() -> None:
    lines = plain(chart([(x, 5.0) for x in range(50)]))
    assert sum(any("⠀" < character <= "⣿" for character in line) for line in lines) == 1


def test_wide_range_is_drawn_on_a_logarithmic_scale() -> None:
    falling = [(float(x), 10.0 * math.exp(-x / 3)) for x in range(12)]
    lines = plain(chart(falling, can_be_log=True))
    assert _rises([*reversed(lines[:-1]), ""])


def test_steep_beginning_leaves_room_for_the_rest() -> None:
    points = [(0.0, 100.0), (1.0, 50.0), *((float(x), 1.0 + x % 2) for x in range(2, 40))]
    assert plain(chart(points))[0].startswith("2.04 ┤")


def test_change_is_marked_where_it_was_made() -> None:
    top = plain(chart([(0, 1.0), (100, 2.0)], marks=[(50.0, 3), (200.0, 4)]))[0]
    drawn = top.split("┤")[1]
    assert drawn.index("③") == len(drawn) // 2
    assert "④" not in top


def test_wanted_level_is_a_dashed_line_on_the_scale() -> None:
    top = plain(chart([(0, 0.5), (10, 0.6)], level=0.99, most=1.0))[0]
    assert top.startswith("   1 ┤⠉ ⠉ ⠉ ")


def test_chart_without_values_says_so() -> None:
    assert any("nothing yet" in line for line in plain(chart([])))


def test_single_value_is_drawn() -> None:
    assert any("⠀" < character <= "⣿" for line in plain(chart([(0.05, 2.3)])) for character in line)


def test_moving_mean_neither_lags_nor_flattens_the_beginning() -> None:
    line = [(float(x), float(x)) for x in range(20)]
    assert smooth(line, reach=3)[:-3] == line[:-3]
    jagged = [(float(x), float(x % 2)) for x in range(20)]
    assert all(abs(y - 0.5) < 0.2 for _, y in smooth(jagged, reach=3)[3:-3])
    assert smooth([], reach=3) == []


def test_sparkline_shows_shares_of_its_greatest_value() -> None:
    assert sparkline([0.0, 0.5, 1.0], 10) == "▁▅█"
    assert sparkline([0.5, 0.5], 10, most=1.0) == "▅▅"
    assert sparkline([0.0, 0.0], 10) == "▁▁"
    assert len(sparkline([1.0] * 1000, 10)) == 10
    assert sparkline([], 10) == ""
