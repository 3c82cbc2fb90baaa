"""Each instruction of PTX as a line of Python over all threads of a block, which is ``gpu``."""

from __future__ import annotations

import re

from tests.virtual_gpu.operands import (
    PACKED,
    TYPES,
    Instruction,
    address,
    number,
    numpy_type,
    parse,
    read,
    register,
    registers,
    write,
)

SIMPLE = {
    "add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}", "div": "{} / {}", "mad": "{} * {} + {}",
    "and": "{} & {}", "or": "{} | {}", "xor": "{} ^ {}", "not": "~{}", "neg": "-{}",
    "abs": "np.abs({})", "sqrt": "np.sqrt({})", "fma": "fma({}, {}, {})",
    "min": "np.fmin({}, {})", "max": "np.fmax({}, {})", "popc": "np.bitwise_count({})",
}  # fmt: skip
OF_NAN = {"min": "np.minimum({}, {})", "max": "np.maximum({}, {})"}
"""Without ``.NaN`` the number wins, with it NaN does."""
COMPARISONS = {
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=",
    "lo": "<", "ls": "<=", "hi": ">", "hs": ">=",
}  # fmt: skip


def translate(line: str) -> list[str]:
    """The lines of Python for one of PTX."""
    one = parse(line)
    special = globals().get(f"translate_{one.names[0]}")
    if special:
        return [special(one)]
    if one.names[0] not in SIMPLE or "hi" in one.names:
        raise NotImplementedError(line)
    kinds = [one.kind] * len(one.arguments)  # of the result and of the operands
    if "wide" in one.names:
        wide = f"{one.kind[0]}{2 * int(one.kind[1:])}"
        kinds = [wide, *kinds[1:3], wide]
    elif one.names[-2] == "f32":  # only the first operand is of the last type
        kinds = ["f32", one.kind, "f32"]
    given = zip(one.arguments[1:], kinds[1:], strict=False)
    operands = [cast(read(argument, kind), kind, kinds[0]) for argument, kind in given]
    value = (OF_NAN if "NaN" in one.names else SIMPLE)[one.names[0]].format(*operands)
    return [write(one.arguments[0], value, kinds[0], one.condition)]


def cast(value: str, kind: str, to: str) -> str:
    """The same numbers in another type."""
    return value if kind in (to, "bf16") else f"{value}.astype({numpy_type(to)!r})"


# integers


def translate_mov(one: Instruction) -> str:
    to, source = one.arguments
    kind = one.kind.replace("f", "b")
    if to.startswith("{"):  # the low half is the first
        return f"{', '.join(registers(to))} = split({read(source, kind)})"
    if source.startswith("{"):
        halves = [read(part.strip(), f"b{int(kind[1:]) // 2}") for part in source[1:-1].split(",")]
        return write(to, f"join({', '.join(halves)})", kind, one.condition)
    return write(to, read(source, kind), kind, one.condition)


def translate_shl(one: Instruction) -> str:
    kind = one.kind.replace("b", "u")
    value = f"shift_left({read(one.arguments[1], kind)}, {read(one.arguments[2], 'u32')})"
    return write(one.arguments[0], value, kind, one.condition)


def translate_shr(one: Instruction) -> str:
    value = f"shift_right({read(one.arguments[1], one.kind)}, {read(one.arguments[2], 'u32')})"
    return write(one.arguments[0], value, one.kind, one.condition)


def translate_bfe(one: Instruction) -> str:
    first, count = int(one.arguments[2], 0), int(one.arguments[3], 0)
    value = f"bits({read(one.arguments[1], one.kind)}, {first}, {count})"
    return write(one.arguments[0], value, one.kind, one.condition)


def translate_prmt(one: Instruction) -> str:
    operands = ", ".join(read(argument, "u32") for argument in one.arguments[1:])
    return write(one.arguments[0], f"permute({operands})", "u32", one.condition)


def translate_cvt(one: Instruction) -> str:
    to, source = one.names[-2:]
    operands = [read(argument, source) for argument in one.arguments[1:]]
    value = operands[0]
    if to in PACKED and len(operands) == 2:  # the first is the upper half
        value = f"np.stack([{operands[1]}, {value}], axis=-1)"
    elif to not in PACKED and source not in PACKED:
        value = f"{value}.astype({numpy_type(to)!r})"
    return write(one.arguments[0], value, to, one.condition)


# conditions


def translate_setp(one: Instruction) -> str:
    left, right = (read(argument, one.kind) for argument in one.arguments[1:])
    name = one.names[1]
    if name in COMPARISONS:
        value = f"({left} {COMPARISONS[name]} {right})"
    elif name == "nan":
        value = f"(np.isnan({left}) | np.isnan({right}))"
    else:  # also true of NaN
        opposite = {"gtu": "<=", "geu": "<", "ltu": ">=", "leu": ">", "equ": "!="}[name]
        value = f"~({left} {opposite} {right})"
    if "|" in one.arguments[0]:
        low, high = one.arguments[0].split("|")
        return f"{register(low)}, {register(high)} = {value}.T"
    return write(one.arguments[0], value, "pred", one.condition)


def translate_selp(one: Instruction) -> str:
    kind = f"u{one.kind[1:]}"
    left, right = (read(argument, kind) for argument in one.arguments[1:3])
    value = f"np.where({register(one.arguments[3])}, {left}, {right})"
    return write(one.arguments[0], value, kind, one.condition)


# memory


def translate_ld(one: Instruction) -> str:
    space, size = one.names[1], int(one.kind[1:]) // 8
    names = registers(one.arguments[0])
    if space == "param":
        wide = 8 if names[0].startswith("rd") else 4
        value = f"parameters[{one.arguments[1].strip('[]')!r}].view('{TYPES[one.kind[0]]}{size}')"
        return f"{names[0]} = {value}.astype('{TYPES[one.kind[0]]}{wide}').view('u{wide}')"
    active = one.condition or "all_threads"
    place = address(one.arguments[1], 32 if space == "shared" else 64)
    found = f"gpu.load({space!r}, {place}, {size}, {len(names)}, {active})"
    if one.condition:
        found = f"choose({active}, {found}, [{', '.join(names)}])"
    return f"{', '.join(names)}, = {found}"


def translate_st(one: Instruction) -> str:
    space, size = one.names[1], int(one.kind[1:]) // 8
    place = address(one.arguments[0], 32 if space == "shared" else 64)
    values = [
        read(part.strip(), f"u{8 * size}") for part in one.arguments[1].strip("{} ").split(",")
    ]
    active = one.condition or "all_threads"
    return f"gpu.store({space!r}, {place}, {size}, [{', '.join(values)}], {active})"


def translate_atom(one: Instruction) -> str:
    if one.names[1:] != ["global", "gpu", "acq_rel", "add", "u32"]:
        raise NotImplementedError(str(one))
    operands = f"{address(one.arguments[1], 64)}, {read(one.arguments[2], 'u32')}"
    found = f"gpu.atomic_add({operands}, {one.condition or 'all_threads'})"
    return write(one.arguments[0], found, "u32", one.condition)


def translate_cp(one: Instruction) -> str:
    if one.names[2] == "commit_group":
        return "gpu.commit()"
    if one.names[2] == "wait_group":
        return f"gpu.wait({number(one.arguments[0])})"
    to, source = address(one.arguments[0], 32), address(one.arguments[1], 64)
    size = one.arguments[2]
    count = read([*one.arguments, size][3], "u32")
    return f"gpu.copy({to}, {source}, {number(size)}, {count}, {one.condition or 'all_threads'})"


def translate_bar(one: Instruction) -> str:
    if one.names[1] == "warp":  # the threads of a warp run in step
        return "pass"
    if one.arguments != ["0"] or one.condition:
        raise NotImplementedError(str(one))
    return "gpu.barrier()"


def translate_fence(one: Instruction) -> str:
    return "gpu.fence()"


# exchange and matrices


def translate_shfl(one: Instruction) -> str:
    if one.arguments[3:] != ["31", "-1"]:
        raise NotImplementedError(str(one))
    value, lane = (read(argument, "u32") for argument in one.arguments[1:3])
    name = {"bfly": "butterfly", "idx": "shuffle"}[one.names[2]]
    return write(one.arguments[0], f"gpu.{name}({value}, {lane})", "u32", one.condition)


def translate_ldmatrix(one: Instruction) -> str:
    names, place = registers(one.arguments[0]), address(one.arguments[1], 32)
    return f"{', '.join(names)}, = gpu.load_matrices({place}, {len(names)}, {'trans' in one.names})"


def translate_stmatrix(one: Instruction) -> str:
    place, names = address(one.arguments[0], 32), ", ".join(registers(one.arguments[1]))
    return f"gpu.store_matrices({place}, [{names}], {'trans' in one.names})"


def translate_mma(one: Instruction) -> str:
    out, *operands = (", ".join(registers(argument)) for argument in one.arguments)
    rows = re.fullmatch(r"m(8|16)n8k\d+", one.names[3])
    if not rows:
        raise NotImplementedError(str(one))
    left, right, added = (f"[{operand}]" for operand in operands)
    return f"{out} = gpu.multiply({one.names[7]!r}, {rows[1]}, {added}, {left}, {right})"


def translate_wgmma(one: Instruction) -> str:
    if one.names[1] != "mma_async":
        left = number((one.arguments or ["0"])[0])
        calls = {
            "commit_group": "gpu.commit_products()",
            "wait_group": f"gpu.wait_products({left})",
        }
        return calls.get(one.names[1], "pass")  # a fence between registers and matrix units
    width = re.search(r"n(\d+)k", one.names[4])
    if not width or one.arguments[4:6] != ["1", "1"]:  # it changes no signs
        raise NotImplementedError(str(one))
    out, left, right, adds = (registers(argument) for argument in one.arguments[:4])
    turned = [int(argument) for argument in one.arguments[6:]]
    turned = [0] * (2 - len(turned)) + turned  # that of what comes from registers is left out
    return (
        f"gpu.begin_product({one.names[6]!r}, {width[1]}, {out}, {left}, {right}, {adds}, {turned})"
    )
