"""Launch the kernel forward and backward, as an autograd function."""

from __future__ import annotations

from typing import Any, NoReturn, cast

import torch
from torch import Tensor
from torch.autograd import Function

from handgraph.nn.engines.cuda.program import Program, products

FEW = {"BLOCK": 16, "num_warps": 8, "num_stages": 2}
MANY = {"BLOCK": 32, "num_warps": 8, "num_stages": 2}
"""Samples per block, warps and pipeline stages of a program. For few samples, small blocks reduce
the latency. For many samples, large blocks read the table less often."""
MANY_BLOCKS = 265
"""Smallest number of blocks of 16 for ``MANY``: two per multiprocessor of a large GPU."""
SAMPLES = 2**14
"""Largest number of samples of a launch, over all branches. It bounds the scratch memory."""
PRECISION = {"none": "tf32x3", "ieee": "ieee", "tf32": "tf32"}
"""Precision of float32 products for each setting of PyTorch; exact to rounding by default."""
REFUSED = "chain: for second or batched derivatives, call engines.use('reference')"


def chain(x: Tensor, table: Tensor, program: Program) -> Tensor:
    """Run a program on ``[B, N, W]`` with a table ``[N, T]``, and return ``[B, N, W']``."""
    if table.numel() >= 2**31 or len(table) >= 2**16:  # indices have 32 bits, grids 16
        found = list(table.shape)
        raise ValueError(f"chain: expected less than 2^31 numbers in 2^16 rows, got {found}")
    x, table = x.contiguous(), table.contiguous()
    outs = [_Chain.apply(part, table, program) for part in x.split(max(SAMPLES // len(table), 1))]
    return cast("Tensor", outs[0] if len(outs) == 1 else torch.cat(outs))


class _Chain(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, program: Program) -> Tensor:  # noqa: ANN401
        acts = x.new_empty(len(table), len(x), program.starts[-1], program.tile)
        out = x.new_empty(len(x), len(table), program.steps[-1].width)
        launch(x, out, acts, None, table, program)
        ctx.program = program
        ctx.save_for_backward(x, acts, table)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:  # noqa: ANN401
        if torch._C._functorch.is_legacy_batchedtensor(grad):
            raise NotImplementedError(REFUSED)
        args = grad.contiguous(), *ctx.saved_tensors, ctx.program, ctx.needs_input_grad[1]
        return *_ChainBackward.apply(*args), None


class _ChainBackward(Function):
    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, Tensor | None]:  # noqa: ANN401
        grad, x, acts, table, program, with_table = args
        grads = torch.zeros_like(acts)  # the gradients of steps that are not read stay zero
        of_x = torch.empty_like(x)
        launch(grad, of_x, acts, grads, table, program)
        return of_x, _of_table(acts, grads, program) if with_table else None

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> NoReturn:  # noqa: ANN401
        raise NotImplementedError(REFUSED)


def _of_table(acts: Tensor, grads: Tensor, program: Program) -> Tensor:
    """Return the gradients of all parts of matrices and of all biases."""
    places = products(program, acts.device)[0][:-1]
    left = grads.index_select(2, places[:, 2]).transpose(1, 2)
    right = acts.index_select(2, places[:, 0]).transpose(1, 2)
    biases = grads[:, :, program.first :].sum(1)
    return torch.cat([(left.mT @ right).flatten(1), biases.flatten(1)], dim=1)


def launch(
    source: Tensor, target: Tensor, acts: Tensor, grads: Tensor | None, table: Tensor,
    program: Program,
) -> None:  # fmt: skip
    """Compute the activations and copy the output, or with ``grads`` the gradients of the input."""
    from handgraph.nn.engines.cuda import walk

    back = grads is not None
    todo, options = products(program, source.device)[back], _options(source, program)
    *_, out, length = program.starts
    with torch.cuda.device_of(source):
        walk.run[-(-len(source) // options["BLOCK"]), len(table)](
            source, target, acts, grads if back else acts, table, todo, len(source),
            source.shape[2], target.shape[2], out, length * program.tile, table.shape[1],
            len(todo) - 1, BACK=back, **options,
        )  # fmt: skip


def _options(x: Tensor, program: Program) -> dict[str, Any]:
    import triton.language as tl

    operand = x.dtype if x.is_cuda else torch.float32  # the interpreter's only dtype
    switch = PRECISION[torch.backends.cuda.matmul.fp32_precision]
    is_few = -(-len(x) // FEW["BLOCK"]) * program.out.branches < MANY_BLOCKS
    takes_registers = operand == torch.float32 and switch == "ieee"
    return {
        "TILE": program.tile,
        "OPERAND": getattr(tl, str(operand).removeprefix("torch.")),
        "PRECISION": switch if operand == torch.float32 else "ieee",
        "enable_fp_fusion": True,  # the default; Triton 3.9 warns about it
        **(FEW if is_few or takes_registers else MANY),
    }
