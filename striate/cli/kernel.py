"""``striate kernel``: how the kernel of one convolution is born."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from striate.cli.app import command
from striate.cli.printing import print_facts, print_json, print_table, say, say_paragraph
from striate.units import readable_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from striate.compiler.problem import ConvProblem
    from striate.compiler.report import KernelReport


@command(
    """
    striate kernel "2d n8 c64 o64 i56 k3 s1 p1"
    striate kernel "2d n8 c192 o192 i28 k3 s1 p1 g192" --pass grad_weight
    striate kernel "1d n32 c64 o64 i1000 k3 s1 p64:0 d32" --asm
    striate kernel "2d n8 c3 o64 i224 k7 s2 p3" --target avx2 --llvm
    """
)
def kernel_command(
    problem: Annotated[
        str,
        typer.Argument(
            help="1d, 2d or 3d, then n batch, c channels in, o out, i input size, k kernel, and where they differ from "
            "the default s stride, p padding, d dilation, g groups, float64, bias, relu."
        ),
    ],
    pass_: Annotated[
        Literal["forward", "grad_input", "grad_weight"] | None,
        typer.Option("--pass", help="Which computation of the layer (default: forward).", show_default=False),
    ] = None,
    layout: Annotated[
        Literal["channels_last", "contiguous"] | None,
        typer.Option(help="How input and output lie in memory (default: channels_last).", show_default=False),
    ] = None,
    target: Annotated[
        Literal["host", "avx512", "avx2", "sse", "neon"],
        typer.Option(help="The machine to generate code for; it runs only where this one can."),
    ] = "host",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads to measure with (default: PyTorch's).", show_default=False)
    ] = None,
    algorithm: Annotated[
        str | None, typer.Option(help="Look at this algorithm in place of the one chosen.", show_default=False)
    ] = None,
    llvm: Annotated[bool, typer.Option("--llvm", help="Show the code as it is given to LLVM.")] = False,
    asm: Annotated[bool, typer.Option("--asm", help="Show the machine code of the inner loop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a kernel: the algorithm and why, its loops, its code, its speed beside what the machine allows."""
    from striate.compiler.problem import ConvProblem

    given = ConvProblem.parse(problem)
    spec = replace(given.spec, pass_=pass_ or given.spec.pass_, layout=layout or given.spec.layout)
    given = replace(given, spec=spec)
    import torch

    from striate.compiler.explain import explain
    from striate.compiler.report import report
    from striate.compiler.target import MADE_UP, host

    aim = next((made_up for made_up in MADE_UP if made_up.name == target), None) or host()
    with _threads(threads or torch.get_num_threads()) as count:
        told = report(given, aim, count, algorithm)
    if told is None:
        if as_json:
            print_json({"problem": str(given), "algorithm": None})
        else:
            say(str(explain(given, aim)))
    elif as_json:
        code = {"llvm": told.llvm} if llvm else {}
        loop = {"asm": told.inner_loop.instructions} if asm and told.inner_loop else {}
        print_json({**told.to_dict(), **code, **loop})
    else:
        _print(given, told, llvm=llvm, asm=asm)


@contextmanager
def _threads(count: int) -> Iterator[int]:
    """Let PyTorch's runtime use ``count`` threads, and then as many as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield count
    finally:
        torch.set_num_threads(before)


def _print(problem: ConvProblem, told: KernelReport, *, llvm: bool, asm: bool) -> None:
    from striate.compiler.stopwatch import bytes_moved, elements

    counts = zip(("input", "weight", "output"), elements(problem), strict=True)
    print_facts(
        [
            ("problem", str(problem)),
            ("pass", f"{problem.spec.pass_}, {problem.spec.layout.replace('_', ' ')}, {problem.spec.dtype}"),
            ("numbers", ", ".join(f"{name} {count:,}" for name, count in counts)),
            ("work", f"{problem.macs:,} multiply-adds on at least {readable_bytes(bytes_moved(problem))}"),
            ("algorithm", told.algorithm),
        ]
    )
    say("")
    print_table(("algorithm", "why, why not"), [(each.name, each.verdict) for each in told.explanation.candidates])
    strict = told.explanation.strict
    if strict != told.explanation.chosen:
        say_paragraph(f"With strict precision: {strict or 'PyTorch computes it'}.")
    say("\nThe idea\n")
    say("\n".join(f"  {line}".rstrip() for line in told.essay.splitlines()))
    say("")
    compiled = f"in {1e3 * told.compile_seconds:.0f} ms to {readable_bytes(told.code_bytes)}"
    facts = [("compiled", f"{compiled}, for any batch, size and padding")]
    loop = told.inner_loop
    if loop is not None:
        spills = f"{loop.spills} uses of the stack" if loop.spills else "nothing spilled"
        rest = f"{loop.loads} loads, {loop.stores} stores, {loop.others} other instructions, {spills}"
        facts.append(("inner loop", f"{loop.multiply_adds} multiply-adds, {rest}"))
    print_facts(facts)
    _print_speed(problem, told)
    if asm and loop is not None:
        say("\nThe inner loop in machine code\n")
        say("\n".join(f"  {instruction}" for instruction in loop.instructions))
    if llvm:
        say("\nThe kernel as it is given to LLVM\n")
        say(told.llvm)


def _print_speed(problem: ConvProblem, told: KernelReport) -> None:
    rows = [("predicted", told.predicted_seconds)]
    if told.measured_seconds is not None:
        rows.append(("measured", told.measured_seconds))
    if told.bounds is not None:
        rows.append(("if only multiply-adds took time", told.bounds.arithmetic_seconds))
        rows.append(("if only memory took time", told.bounds.bandwidth_seconds))
    threads = "1 thread" if told.threads == 1 else f"{told.threads} threads"
    headings = (f"on {threads}", "ms", "GFLOP/s")
    say("")
    cells = [(name, f"{1e3 * time:.4g}", f"{2e-9 * problem.macs / time:.4g}" if time else "") for name, time in rows]
    print_table(headings, cells, right=headings[1:])
    if told.bounds is None or told.measured_seconds is None:
        say_paragraph("This machine cannot run the code, or there is nothing to compute: nothing was measured.")
        return
    limit, measured = told.bounds, told.measured_seconds
    longer = max(limit.arithmetic_seconds, limit.bandwidth_seconds)
    what = "the multiply-adds" if limit.binding == "arithmetic" else "the memory"
    if longer <= measured:
        text = f"The kernel reaches {100 * longer / measured:.0f} % of it."
    else:
        text = f"The kernel is {longer / measured:.2f} times as fast as that: it needs fewer multiplications than the "
        text += "definition, or other programs disturbed the measurement of the bound."
    say_paragraph(f"What binds: {what}. {text}")
