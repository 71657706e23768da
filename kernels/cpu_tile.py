"""The innermost loop of every matrix product on the CPU: a small tile of the result that stays in registers.

    out[r, :] = init[r, :] + sum over k of a[r, k] * b[k, :]        r in 0..ROWS-1, a row = VECTORS vectors of LANES

Why a tile: a multiply-add needs two numbers from memory, and a processor can do more multiply-adds than it can fetch
numbers. A tile of 6 rows by 4 vectors fetches 4 vectors of b and 6 numbers of a for 24 multiply-adds of a whole vector
each, and keeps its 24 sums in registers all the way, so the arithmetic units and not the memory set the pace. With
AVX-512 there are 32 registers: 24 sums, 4 vectors of b, one number of a spread over a vector. With AVX2 there are 16
of half the width: 12 sums, 2 of b, 1 of a: a tile of 6 by 2. The rest of the code only ever says ROWS, VECTORS, LANES.

The sum over k is taken in one order, k = 0, 1, 2, ..., with a fused multiply-add each. So an element of the result has
the same bits in whatever tile it lies, for any number of threads, and for any width of the vectors.

Python has no words for registers. The loop is therefore written in the compiler's own language, LLVM IR, by a Numba
`intrinsic`: a function that is called while compiling and emits the instructions.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import RequireLiteralValue
from numba.extending import intrinsic

from .cpu_compile import CPU, REGISTERS, VECTOR_BYTES, has, inlined

if not (has("fma") or has("neon")):
    raise ImportError(f"this processor ({CPU}) has no fused multiply-add")

ROWS = 6
VECTORS = 4 if REGISTERS == 32 else 2
KC = 512        # of k at a time: a strip of b of this length (128 KB) stays in the second-level cache for many rows


def lanes(dtype) -> int:
    """How many numbers a vector register holds."""
    return VECTOR_BYTES // dtype.itemsize


def strip(dtype) -> int:
    """How many columns a tile is wide: VECTORS * LANES."""
    return VECTORS * lanes(dtype)


@intrinsic(prefer_literal=True)
def tile(
    typingctx, rows, vectors, a, a_at, a_row, a_k, b, b_at, b_k, init, init_at, init_row, out, out_at, out_row, step, K,
    ahead,
):  # fmt: skip
    """out[r, c] = init[r, c] + sum over k < K of a[r, k] * b[k, c]     for r < rows, c < vectors * LANES; K >= 1

    All four are arrays of any shape, taken as they lie in memory: X[r, c] is number X_at + r * X_row + c (of a:
    a_at + r * a_row + k * a_k; of b: b_at + k * b_k + c), and the vectors of a row of init and of out are `step` apart
    (LANES where they are neighbours). rows and vectors are literals: each pair is another loop. Beside each number of
    b that is used, the one `ahead` of it is brought near, and the next tile's part of init.
    """
    if not isinstance(rows, types.IntegerLiteral) or not isinstance(vectors, types.IntegerLiteral):
        raise RequireLiteralValue("rows and vectors")
    index = types.intp
    signature = types.void(
        rows, vectors, a, index, index, index, b, index, index, init, index, index, out, index, index, index, index,
        index,
    )
    R, V = rows.literal_value, vectors.literal_value

    def emit(context, builder, signature, args):
        _, _, a, a_at, a_row, a_k, b, b_at, b_k, init, init_at, init_row, out, out_at, out_row, step, K, ahead = args
        array_types = dict(zip("abio", (signature.args[n] for n in (2, 6, 9, 12)), strict=True))
        number = context.get_value_type(array_types["a"].dtype)
        L = VECTOR_BYTES // (array_types["a"].dtype.bitwidth // 8)
        vector, int64, int32 = ir.VectorType(number, L), ir.IntType(64), ir.IntType(32)
        itemsize = array_types["a"].dtype.bitwidth // 8
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{L}f{8 * itemsize}"
        )


        def const(n):
            return ir.Constant(int64, n)

        def start(which, array, at):
            data = context.make_array(array_types[which])(context, builder, value=array).data
            return builder.gep(builder.bitcast(data, number.as_pointer()), [at])

        def row(pointer, stride, r):
            return builder.gep(pointer, [builder.mul(stride, const(r))])

        def vector_at(pointer, offset):
            return builder.bitcast(builder.gep(pointer, [offset]), vector.as_pointer())

        def bytes_at(pointer, offset):
            return builder.bitcast(builder.gep(pointer, [offset]), ir.IntType(8).as_pointer())

        def load(pointer, offset):
            loaded = builder.load(vector_at(pointer, offset))
            loaded.align = itemsize
            return loaded

        def spread(x):
            """A number -> a vector of it."""
            undefined = ir.Constant(vector, ir.Undefined)
            first = builder.insert_element(undefined, x, ir.Constant(int32, 0))
            return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(int32, L), [0] * L))

        # before the loop: the sums begin with init
        a0, b0 = start("a", a, a_at), start("b", b, b_at)
        init0, out0 = start("i", init, init_at), start("o", out, out_at)
        steps = [builder.mul(step, const(v)) for v in range(V)]
        first = [[load(row(init0, init_row, r), steps[v]) for v in range(V)] for r in range(R)]
        for r in range(R):
            for v in range(V):
                _prefetch(builder, bytes_at(row(init0, init_row, R + r), steps[v]), 3)
        before, function = builder.block, builder.function
        loop, after = function.append_basic_block("over_k"), function.append_basic_block("after")
        builder.branch(loop)
        # the loop: k, two pointers that walk, and R * V sums
        builder.position_at_end(loop)
        k, a_now, b_now = builder.phi(int64), builder.phi(a0.type), builder.phi(b0.type)
        sums = [[builder.phi(vector) for _ in range(V)] for _ in range(R)]
        b_vectors = [load(b_now, const(L * v)) for v in range(V)]
        if R == ROWS:                       # with less to do for each number of b, the processor's own guess is as good
            _prefetch(builder, bytes_at(b_now, ahead), 2)
        new_sums = []
        for r in range(R):
            a_rk = spread(builder.load(row(a_now, a_row, r)))
            new_sums.append([builder.call(fma, [b_vectors[v], a_rk, sums[r][v]]) for v in range(V)])
        next_k, next_a, next_b = builder.add(k, const(1)), builder.gep(a_now, [a_k]), builder.gep(b_now, [b_k])
        walking = [(k, const(0), next_k), (a_now, a0, next_a), (b_now, b0, next_b)]
        walking += [(sums[r][v], first[r][v], new_sums[r][v]) for r in range(R) for v in range(V)]
        for phi, at_first, later in walking:
            phi.add_incoming(at_first, before)
            phi.add_incoming(later, loop)
        builder.cbranch(builder.icmp_signed("<", next_k, K), loop, after)
        # after it: the sums go out
        builder.position_at_end(after)
        for r in range(R):
            for v in range(V):
                builder.store(new_sums[r][v], vector_at(row(out0, out_row, r), steps[v])).align = itemsize
        return context.get_dummy_value()

    return signature, emit


def _prefetch(builder, pointer, locality):
    """3: to the nearest cache, 2: to the second level"""
    int32 = ir.IntType(32)
    function = ir.FunctionType(ir.VoidType(), [pointer.type, int32, int32, int32])
    prefetch = cgutils.get_or_insert_function(builder.module, function, "llvm.prefetch.p0")
    builder.call(prefetch, [pointer, *(ir.Constant(int32, n) for n in (0, locality, 1))])   # to be read; data


@intrinsic(prefer_literal=True)
def copy(typingctx, target, target_at, source, source_at, n):
    """target[target_at : target_at + n] = source[source_at : source_at + n], both taken as they lie in memory.
    A literal n becomes a few instructions."""
    signature = types.void(target, types.intp, source, types.intp, n)

    def emit(context, builder, signature, args):
        number, itemsize = context.get_value_type(target.dtype), target.dtype.bitwidth // 8
        pointers = []
        for which in (0, 2):
            data = context.make_array(signature.args[which])(context, builder, value=args[which]).data
            at = builder.gep(builder.bitcast(data, number.as_pointer()), [args[which + 1]])
            pointers.append(builder.bitcast(at, ir.IntType(8).as_pointer()))
        int64 = ir.IntType(64)
        count = ir.Constant(int64, n.literal_value) if isinstance(n, types.IntegerLiteral) else args[4]
        memcpy = builder.module.declare_intrinsic("llvm.memcpy", [*(p.type for p in pointers), int64])
        n_bytes = builder.mul(count, ir.Constant(int64, itemsize))
        builder.call(memcpy, [*pointers, n_bytes, ir.Constant(ir.IntType(1), 0)])
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def transpose(typingctx, target, target_at, target_row, source, source_at, source_row):
    """target[c, r] = source[r, c] for LANES rows and columns, both taken as they lie in memory.

    All in registers: where row r is interleaved with row r + LANES/2, number by number, and that is done log2(LANES)
    times, the rows have become columns.
    """
    signature = types.void(target, *[types.intp] * 2, source, *[types.intp] * 2)
    L = VECTOR_BYTES // (target.dtype.bitwidth // 8)

    def emit(context, builder, signature, args):
        number, itemsize = context.get_value_type(target.dtype), target.dtype.bitwidth // 8
        vector, int32 = ir.VectorType(number, L), ir.IntType(32)
        lower, upper = ([n // 2 + half + n % 2 * L for n in range(L)] for half in (0, L // 2))

        def row(which, r):
            data = context.make_array(signature.args[which])(context, builder, value=args[which]).data
            at = builder.add(args[which + 1], builder.mul(args[which + 2], ir.Constant(ir.IntType(64), r)))
            start = builder.gep(builder.bitcast(data, number.as_pointer()), [at])
            return builder.bitcast(start, vector.as_pointer())

        rows = []
        for r in range(L):
            rows.append(builder.load(row(3, r)))
            rows[-1].align = itemsize
        for _ in range(L.bit_length() - 1):
            halves = zip(rows[: L // 2], rows[L // 2 :], strict=True)
            rows = [
                builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(int32, L), which))
                for first, second in halves
                for which in (lower, upper)
            ]
        for r in range(L):
            builder.store(rows[r], row(0, r)).align = itemsize
        return context.get_dummy_value()

    return signature, emit


# --- more rows than a tile has ---------------------------------------------------------------------------------
#
# From here on an operand is a tuple, so that a call can be read: A = (a, a_at, a_row, a_k, a_tile), B = (b, b_at, b_k),
# INIT = (init, init_at, init_row), OUT = (out, out_at, out_row). Of a, one tile's ROWS rows begin a_tile after those
# of the tile before: ROWS * a_row, unless a was packed tile by tile.


def _covering(size, vectors):
    """-> a function that covers any number of rows with tiles of 6, 4, 2 and 1 of them, of this many vectors."""
    rest = _covering({6: 4, 4: 2, 2: 1}[size], vectors) if size > 1 else None

    @inlined
    def cover(rows, step, K, A, B, INIT, OUT):
        (a, a_at, a_row, a_k, a_tile), (b, b_at, b_k) = A, B
        (init, init_at, init_row), (out, out_at, out_row) = INIT, OUT
        ahead = 0                           # what follows b in memory is needed next: every tile brings a part of it
        while rows >= size:
            tile(size, vectors, a, a_at, a_row, a_k, b, b_at, b_k,
                 init, init_at, init_row, out, out_at, out_row, step, K, K * b_k + ahead)
            ahead = (ahead + b_k // VECTORS) % b_k
            rows -= size
            a_at += a_tile if size == ROWS else size * a_row
            init_at += size * init_row
            out_at += size * out_row
        if rest is not None:
            rest(rows, step, K, (a, a_at, a_row, a_k, a_tile), B, (init, init_at, init_row), (out, out_at, out_row))

    return cover


def _up_to(vectors):
    widest, narrower = _covering(ROWS, vectors), _up_to(vectors - 1) if vectors > 1 else None

    @inlined
    def multiply_strip(rows, width, K, A, B, INIT, OUT):
        """OUT = INIT + A @ B for any number of rows and a strip of `width` vectors. K >= 1"""
        if narrower is None or width == vectors:
            widest(rows, B[2] // VECTORS, K, A, B, INIT, OUT)
        else:
            narrower(rows, width, K, A, B, INIT, OUT)

    return multiply_strip


multiply_strip = _up_to(VECTORS)
multiply_gates = _covering(ROWS, VECTORS)       # whole strips whose vectors are `step` apart: one gate each


def count_strips(n, dtype) -> int:
    """How many strips n columns make."""
    return -(-n // strip(dtype))


@inlined
def strip_columns(s, strips, n, lanes):
    """-> first column of strip s, and how many vectors it is wide. 25 vectors make strips of 4, 4, 4, 4, 3, 3 and 3: a
    last one of a single vector would take almost as long as one of four."""
    vectors = (n + lanes - 1) // lanes
    least, wider = vectors // strips, vectors % strips
    return (s * least + min(s, wider)) * lanes, least + (s < wider)
