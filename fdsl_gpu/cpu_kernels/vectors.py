"""Words of LLVM's vector language, for the few loops that a compiler does not find vector instructions for.

Everything here compiles for every CPU, whatever the width of its vectors.
"""

from llvmlite import binding, ir

BYTE, HALF, INT, FLOAT = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.FloatType()

# One instruction for eight words, which the long way round is taken for; elsewhere it would be a lookup a lane.
_PERMUTES = bool(binding.get_host_cpu_features().get("avx2"))


def _pointer(builder, address, offset, kind):
    if not isinstance(offset, ir.Value):
        offset = ir.Constant(address.type, offset)
    return builder.inttoptr(builder.add(address, offset), kind.as_pointer())


def load(builder, address, offset, element, lanes):
    """The vector at ``address`` + ``offset`` bytes, which need not be aligned."""
    return builder.load(_pointer(builder, address, offset, ir.VectorType(element, lanes)), align=1)


def store(builder, vector, address, offset):
    """Write a vector to ``address`` + ``offset`` bytes, which need not be aligned."""
    builder.store(vector, _pointer(builder, address, offset, vector.type), align=1)


def shuffle(builder, a, b, places):
    """The elements of ``a`` and ``b``, one after the other, that ``places`` name."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INT, len(places)), list(places)))


def constant(element, value, lanes):
    """A vector of one value."""
    return ir.Constant(ir.VectorType(element, lanes), [ir.Constant(element, value)] * lanes)


def splat(builder, scalar, lanes):
    """A vector of one value that is known when the code runs."""
    vector = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    vector = builder.insert_element(vector, scalar, ir.Constant(INT, 0))
    return shuffle(builder, vector, vector, [0] * lanes)


def of_eight(builder, table, index):
    """Entries ``index``, 0 .. 7, of a table of eight: one a lane."""
    lanes = index.type.count
    if _PERMUTES:
        # Nothing is beyond 7. It is said, since LLVM would take an index that it sees made apart, lane by lane.
        last = constant(INT, 7, lanes)
        index = builder.select(builder.icmp_unsigned("<", index, last), index, last)
        out = ir.Constant(ir.VectorType(table.type.element, lanes), ir.Undefined)
        for k in range(lanes):
            lane = ir.Constant(INT, k)
            entry = builder.extract_element(table, builder.extract_element(index, lane))
            out = builder.insert_element(out, entry, lane)
        return out
    entries = [shuffle(builder, table, table, [k] * lanes) for k in range(8)]
    for bit in (1, 2, 4):
        chosen = builder.icmp_signed("!=", builder.and_(index, constant(INT, bit, lanes)), constant(INT, 0, lanes))
        pairs = zip(entries[1::2], entries[::2], strict=True)
        entries = [builder.select(chosen, odd, even) for odd, even in pairs]
    return entries[0]
