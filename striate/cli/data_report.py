"""A report on a data set as tables and sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from striate.cli.printing import print_facts, print_table, say
from striate.cli.printing import report as tell
from striate.units import readable_bytes, readable_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from striate.data import DataReport
    from striate.data.overview.summaries import NumberSummary, Spread, TokenSummary

_ROWS = 50
_BAR = 30
_HISTOGRAMS = 4


def print_report(report: DataReport) -> None:
    """Print a report; long lists end after a few lines."""
    # What spoils every score comes first, where nobody overlooks it.
    loud, quiet = report.warnings[: len(report.shared_subjects)], report.warnings[len(report.shared_subjects) :]
    for warning in loud:
        tell("Warning", warning, style="bold red")
    print_facts(list(_facts(report)))
    say("")
    if report.counts and any(report.counts.values()):
        _print_counts(report)
    else:
        print_table(
            ["part", "samples"],
            [(_part(report, name), f"{n:,}") for name, n in report.sizes.items()],
            right=["samples"],
        )
    if report.masks:
        _print_masks(report)
    for name, parts in list(report.numbers.items())[:_HISTOGRAMS]:
        _print_number(name, parts)
    if len(report.numbers) > _HISTOGRAMS:
        say(f"... {len(report.numbers) - _HISTOGRAMS} more numbers (--json lists them all)")
    if report.subjects:
        _print_subjects(report)
    _print_files(report)
    for warning in quiet:
        tell("Warning", warning, style="yellow")


def _facts(report: DataReport) -> Iterator[tuple[str, str]]:
    yield "source", report.source
    yield "recognised as", f"{report.kind}, by {report.reason}"
    if report.task != "classification":
        yield "task", report.task
    yield "samples", f"{sum(report.sizes.values()):,}"
    if report.tokens:
        yield from _token_facts(report.tokens)
    else:
        yield "shape", f"{report.channels} x {readable_size(report.input_size)}, {report.dtype}"
    if report.lengths and (report.tokens or report.lengths.smallest != report.lengths.largest):
        yield "stored lengths", _spread(report.lengths)
    else:
        sizes = ", ".join(f"{readable_size(size)} ({count:,})" for size, count in report.stored_sizes[:5])
        more = f" and {len(report.stored_sizes) - 5} more" if len(report.stored_sizes) > 5 else ""
        yield "stored sizes", sizes + more
    if not report.tokens:
        yield "values", f"{report.value_range[0]:g} to {report.value_range[1]:g}"
        if report.normalise == "dataset":
            mean, std = (" ".join(f"{value:.4g}" for value in values) for values in (report.mean, report.std))
            yield "training mean, std", f"{mean}, {std} (of values divided by {report.value_scale:g})"
        else:
            yield "normalised", "every sample by itself" if report.normalise == "sample" else "no"
    for name, held in report.labels_held.items():
        yield f"labels a {name} sample", f"{held.per_sample:.2f} on average, none in {held.without:,}"
    yield "memory", readable_bytes(report.memory_bytes)


def _token_facts(tokens: TokenSummary) -> Iterator[tuple[str, str]]:
    yield "vocabulary", f"{tokens.vocabulary:,} tokens of the training part, with padding and unknown"
    shown = ", ".join(f"{_visible(token)} ({count:,})" for token, count in tokens.most_frequent[:10])
    yield "most frequent", shown
    unknown = ", ".join(f"{100 * share:.1f} % in {name}" for name, share in tokens.unknown.items())
    yield "unknown tokens", unknown
    yield "length", f"{tokens.length} tokens, with padding; {tokens.cut:,} texts are cut"
    if tokens.with_vectors:
        yield "word vectors", "read, for the network to begin with"


def _visible(token: str) -> str:
    return token if token.isprintable() and not token.isspace() else ascii(token)


def _spread(spread: Spread) -> str:
    if spread.smallest == spread.largest:
        return f"{spread.smallest:,}"
    return f"{spread.smallest:,} to {spread.largest:,}, median {spread.median:,}, 95 % at most {spread.most:,}"


def _part(report: DataReport, name: str) -> str:
    return name if name in report.official else f"{name} (split off)"


def _print_counts(report: DataReport) -> None:
    headings = [_part(report, name) for name in report.counts]
    names = list(report.counts["train"])
    rows = [(name, *(f"{counts[name]:,}" for counts in report.counts.values())) for name in names[:_ROWS]]
    if len(names) > _ROWS:
        rows.append((f"... {len(names) - _ROWS} more classes", *("" for _ in headings)))
    what = {"multi-label": "label", "verification": "identity"}.get(report.task, "class")
    # A sample has any number of labels, and a mask any number of classes.
    all_of_them = "samples" if report.task in ("multi-label", "segmentation") else "all"
    total = (all_of_them, *(f"{count:,}" for count in report.sizes.values()))
    print_table([what, *headings], [*rows, total], right=headings)


def _print_masks(report: DataReport) -> None:
    headings, names = list(report.masks), list(report.masks["train"].shares)
    rows = [(name, *(f"{100 * mask.shares[name]:.2f} %" for mask in report.masks.values())) for name in names[:_ROWS]]
    if any(mask.void for mask in report.masks.values()):
        rows.append(("void, of all", *(f"{100 * mask.void:.2f} %" for mask in report.masks.values())))
    say("")
    print_table(["share of places", *headings], rows, right=headings)


def _print_number(name: str, parts: Mapping[str, NumberSummary]) -> None:
    columns = ["mean", "std", "smallest", "median", "largest"]
    rows = [(part, *(f"{getattr(summary, column):.4g}" for column in columns)) for part, summary in parts.items()]
    say("")
    print_table([name, *columns], rows, right=columns)
    train = parts["train"]
    most = max(train.counts)
    bars = [
        (f"{low:.4g} to {high:.4g}", f"{count:,}", "#" * round(_BAR * count / most))
        for low, high, count in zip(train.edges, train.edges[1:], train.counts, strict=False)
    ]
    say("")
    print_table([f"{name} in train", "samples", ""], bars, right=["samples"])


def _print_subjects(report: DataReport) -> None:
    what = "identities" if report.task == "verification" else "subjects"
    rows = [(name, f"{found.subjects:,}", _spread(found.samples)) for name, found in report.subjects.items()]
    say("")
    print_table(["part", what, "samples of each"], rows, right=[what])


def _print_files(report: DataReport) -> None:
    for duplicate in report.duplicates[:10]:
        pairs = zip(duplicate.names, duplicate.parts, duplicate.classes, strict=True)
        say("Duplicate: " + " = ".join(f"{n} ({p}{f', {c}' if c else ''})" for n, p, c in pairs))
    if len(report.duplicates) > 10:
        say(f"... {len(report.duplicates) - 10} more duplicates (--json lists them all)")
    if report.repeats:
        say(f"{report.repeats} more groups of equal samples lie within one part and class.")
    for file in report.corrupt[:_ROWS]:
        say(f"Damaged: {file.name}: {file.reason}")
    if len(report.corrupt) > _ROWS:
        say(f"... {len(report.corrupt) - _ROWS} more that are damaged (--json lists them all)")
